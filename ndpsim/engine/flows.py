"""Bytes on their way: flows that share resources fairly, in exact integers.

A flow moves along a route of named resources, each with a capacity in bytes per second. Priority
classes are strict (a lower number is served first); inside a class, rates are max-min fair. What
a flow has left is counted in byte-picoseconds per second (1 byte = 10^12 of them), so progress over
any whole number of picoseconds is an exact integer and no rounding accumulates.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import simpy

from ndpsim.units import PS_PER_S, ceil_div


class Flow:
    """Something that moves along `route`; `left` is in byte-picoseconds per second."""

    __slots__ = ("done", "left", "n_bytes", "priority", "rate", "route")

    def __init__(
        self, route: tuple[str, ...], left: int, priority: int, done: simpy.Event, n_bytes: int
    ) -> None:
        self.route = route
        self.left = left
        self.priority = priority
        self.done = done
        self.n_bytes = n_bytes
        self.rate = 0

    @property
    def bytes_left(self) -> int:
        """Whole bytes that have not arrived; a byte under way counts as not arrived."""
        return ceil_div(self.left, PS_PER_S)


def max_min_rates(
    flows: Sequence[tuple[tuple[str, ...], int]],
    capacity: Mapping[str, int],
    exclusive: frozenset[str] = frozenset(),
) -> list[int]:
    """Rates in bytes per second for flows given as (route, priority).

    Progressive filling, class by class: the most contended resource fixes the rate of its flows,
    they are set aside, the rest share what is left. Shares are floored to whole bytes per second.
    A resource in `exclusive` serves one class at a time: once a class uses it, lower classes get
    nothing of it.
    """
    rates = [0] * len(flows)
    left = dict(capacity)
    for priority in sorted({priority for _, priority in flows}):
        pending = [i for i, (_, p) in enumerate(flows) if p == priority]
        while pending:
            users: dict[str, int] = {}
            for i in pending:
                for resource in flows[i][0]:
                    users[resource] = users.get(resource, 0) + 1
            share, tightest = min((left[r] // n, r) for r, n in users.items())
            for i in [i for i in pending if tightest in flows[i][0]]:
                rates[i] = share
                pending.remove(i)
                for resource in flows[i][0]:
                    left[resource] -= share
        for rate, (route, p) in zip(rates, flows, strict=True):
            if rate and p == priority:
                left.update(dict.fromkeys(exclusive.intersection(route), 0))
    return rates


class FlowNetwork:
    """All flows under way, advanced together whenever one starts or ends."""

    def __init__(
        self,
        env: simpy.Environment,
        capacity: Mapping[str, int],
        exclusive: frozenset[str],
    ) -> None:
        self._env = env
        self._capacity = capacity
        self._exclusive = exclusive
        self._active: list[Flow] = []
        self._updated_ps = 0
        self._version = 0
        self._stale = False
        self.busy_ps: dict[str, int] = {}
        self.n_bytes: dict[str, int] = {}

    def start(self, flow: Flow) -> None:
        """Put a flow on its way now."""
        if flow.left == 0:
            flow.done.succeed()
            return
        self._advance()
        self._active.append(flow)
        self._refresh()

    def settle(self) -> list[Flow]:
        """Bring all progress up to now; the flows that are still under way, oldest first."""
        self._advance()
        for flow in self._active:
            self._count(flow, flow.n_bytes - flow.bytes_left if flow.n_bytes else 0)
        return self._active

    def _count(self, flow: Flow, n_bytes: int) -> None:
        for resource in flow.route:
            self.n_bytes[resource] = self.n_bytes.get(resource, 0) + n_bytes

    def _advance(self) -> None:
        now_ps = int(self._env.now)
        elapsed = now_ps - self._updated_ps
        if elapsed == 0:
            return
        self._updated_ps = now_ps
        moving: dict[str, None] = {}
        for flow in self._active:
            if flow.rate:
                flow.left = max(0, flow.left - flow.rate * elapsed)
                moving.update(dict.fromkeys(flow.route))
        for resource in moving:
            self.busy_ps[resource] = self.busy_ps.get(resource, 0) + elapsed

    def _refresh(self) -> None:
        """Share again, once per instant however many flows start or end in it."""
        if not self._stale:
            self._stale = True
            self._after(0, self._share)

    def _share(self) -> None:
        self._stale = False
        rates = max_min_rates(
            [(f.route, f.priority) for f in self._active], self._capacity, self._exclusive
        )
        for flow, rate in zip(self._active, rates, strict=True):
            flow.rate = rate
        self._version += 1
        version = self._version
        times = [ceil_div(f.left, f.rate) for f in self._active if f.rate]
        if times:
            self._after(min(times), lambda: self._finish(version))

    def _finish(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        done = [flow for flow in self._active if flow.left == 0]
        self._active = [flow for flow in self._active if flow.left]
        for flow in done:
            self._count(flow, flow.n_bytes)
            flow.done.succeed()
        self._refresh()

    def _after(self, delay_ps: int, action: Callable[[], None]) -> None:
        timeout = self._env.timeout(delay_ps)
        assert timeout.callbacks is not None
        timeout.callbacks.append(lambda _: action())


def bottleneck(route: Iterable[str], capacity: Mapping[str, int]) -> str:
    """The resource of a route with the least capacity (first by name on a tie)."""
    return min(route, key=lambda resource: (capacity[resource], resource))
