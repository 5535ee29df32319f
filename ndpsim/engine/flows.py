"""Bytes on their way: flows that share resources fairly, in exact integers.

A flow moves along a route of named resources, each with a capacity in bytes per second. Priority
classes are strict (a lower number is served first); inside a class, rates are max-min fair. What
a flow has left is counted in byte-picoseconds per second (1 byte = 10^12 of them), so progress over
any whole number of picoseconds is an exact integer and no rounding accumulates.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import simpy

from ndpsim.units import PS_PER_S, ceil_div


class Flow:
    """Something that moves along `route`; `left` is in byte-picoseconds per second."""

    __slots__ = ("arrive", "left", "limit", "limited_ps", "n_bytes", "priority", "rate", "route")

    def __init__(self, route: tuple[str, ...], left: int, priority: int, n_bytes: int) -> None:
        self.route = route
        self.left = left
        self.priority = priority
        self.n_bytes = n_bytes
        self.arrive: Callable[[], None] | None = None
        """What happens when nothing is left."""
        self.rate = 0
        self.limit = route[0]
        """The resource that keeps `rate` from being higher."""
        self.limited_ps: dict[str, int] = {}
        """Time under way by the resource that limited it; sums to the time since the start."""

    @property
    def bytes_left(self) -> int:
        """Whole bytes that have not arrived; a byte under way counts as not arrived."""
        return ceil_div(self.left, PS_PER_S)


class Share(NamedTuple):
    """A flow's rate in bytes per second, and the resource that limits it."""

    rate: int
    limit: str


def max_min_shares(
    flows: Sequence[tuple[tuple[str, ...], int]],
    capacity: Mapping[str, int],
    exclusive: frozenset[str] = frozenset(),
) -> list[Share]:
    """Shares of flows given as (route, priority).

    Progressive filling, class by class: the most contended resource fixes the rate of its flows,
    they are set aside, the rest share what is left. Rates are floored to whole bytes per second,
    and what the floor leaves of an exhausted resource stays unused: lower classes get nothing of
    it. A resource in `exclusive` serves one class at a time: once a class uses it, lower classes
    get nothing of it either. A route that crosses a resource twice loads it twice.
    """
    shares = [Share(0, "")] * len(flows)
    left = dict(capacity)
    for priority in sorted({priority for _, priority in flows}):
        members = [i for i, (_, p) in enumerate(flows) if p == priority]
        pending = members
        while pending:
            n_users: dict[str, int] = {}
            for i in pending:
                for resource in flows[i][0]:
                    n_users[resource] = n_users.get(resource, 0) + 1
            rate, tightest = min((left[r] // n, r) for r, n in n_users.items())
            for i in pending:
                if tightest in flows[i][0]:
                    shares[i] = Share(rate, tightest)
                    for resource in flows[i][0]:
                        left[resource] -= rate
            left[tightest] = 0
            pending = [i for i in pending if tightest not in flows[i][0]]
        for i in members:
            if shares[i].rate:
                left.update(dict.fromkeys(exclusive.intersection(flows[i][0]), 0))
    return shares


def max_min_rates(
    flows: Sequence[tuple[tuple[str, ...], int]],
    capacity: Mapping[str, int],
    exclusive: frozenset[str] = frozenset(),
) -> list[int]:
    """The rates of `max_min_shares`."""
    return [share.rate for share in max_min_shares(flows, capacity, exclusive)]


class FlowNetwork:
    """All flows under way, advanced together whenever one starts or ends."""

    def __init__(
        self,
        env: simpy.Environment,
        capacity: Mapping[str, int],
        exclusive: frozenset[str],
    ) -> None:
        for resource, rate in capacity.items():
            if rate <= 0:
                raise ValueError(f"capacity of '{resource}' must be positive, not {rate}")
        self._env = env
        self._capacity = capacity
        self._exclusive = exclusive
        self._active: list[Flow] = []
        self._updated_ps = 0
        self._version = 0
        self._stale = False
        self._busy_ps: Counter[str] = Counter()
        self._arrived_bytes: Counter[str] = Counter()
        """By resource, of flows that have ended."""

    def start(self, flow: Flow, arrive: Callable[[], None]) -> None:
        """Put a flow on its way now; `arrive` is called when nothing is left of it."""
        if flow.left == 0:
            call_after(self._env, 0, arrive)
            return
        self.advance()
        flow.arrive = arrive
        self._active.append(flow)
        self._refresh()

    def busy_ps(self) -> dict[str, int]:
        """By resource: time until now during which something moved over it."""
        self.advance()
        return dict(self._busy_ps)

    def bytes_moved(self) -> dict[str, int]:
        """By resource: whole bytes until now."""
        self.advance()
        moved = self._arrived_bytes.copy()
        for flow in self._active:
            if flow.n_bytes:
                _count(moved, flow.route, flow.n_bytes - flow.bytes_left)
        return dict(moved)

    def advance(self) -> None:
        """Bring all progress up to now."""
        now_ps = int(self._env.now)
        elapsed_ps = now_ps - self._updated_ps
        if elapsed_ps == 0:
            return
        self._updated_ps = now_ps
        moving: dict[str, None] = {}
        for flow in self._active:
            flow.limited_ps[flow.limit] = flow.limited_ps.get(flow.limit, 0) + elapsed_ps
            if flow.rate:
                flow.left = max(0, flow.left - flow.rate * elapsed_ps)
                moving.update(dict.fromkeys(flow.route))
        for resource in moving:
            self._busy_ps[resource] += elapsed_ps

    def _refresh(self) -> None:
        """Share again, once per instant however many flows start or end in it."""
        if not self._stale:
            self._stale = True
            call_after(self._env, 0, self._share)

    def _share(self) -> None:
        self._stale = False
        shares = max_min_shares(
            [(f.route, f.priority) for f in self._active], self._capacity, self._exclusive
        )
        for flow, share in zip(self._active, shares, strict=True):
            flow.rate, flow.limit = share
        self._version += 1
        version = self._version
        times = [ceil_div(f.left, f.rate) for f in self._active if f.rate]
        if times:
            call_after(self._env, min(times), lambda: self._finish(version))

    def _finish(self, version: int) -> None:
        if version != self._version:
            return
        self.advance()
        done = [flow for flow in self._active if flow.left == 0]
        self._active = [flow for flow in self._active if flow.left]
        for flow in done:
            _count(self._arrived_bytes, flow.route, flow.n_bytes)
            arrive, flow.arrive = flow.arrive, None
            assert arrive is not None
            arrive()
        self._refresh()


def call_after(env: simpy.Environment, delay_ps: int, action: Callable[[], None]) -> None:
    """Call `action` when `delay_ps` has passed; behind what was scheduled for then before."""
    timeout = env.timeout(delay_ps)
    assert timeout.callbacks is not None
    timeout.callbacks.append(lambda _: action())


def _count(total: Counter[str], route: tuple[str, ...], n_bytes: int) -> None:
    for resource in route:
        total[resource] += n_bytes


def bottleneck(route: Iterable[str], capacity: Mapping[str, int]) -> str:
    """The resource of a route with the least capacity (first by name on a tie)."""
    return min(route, key=lambda resource: (capacity[resource], resource))
