"""Collectives as sends between devices, run as flows over a topology.

A collective is a list of sends, each after others; nothing here knows how long a link takes. On the
topology every send is a flow over its route, so ports, switches and shared buses are contended for
as they are by any other transfer. Arithmetic on arrival (the sum of a reduction) is not counted: a
device adds vectors faster than any link brings them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ndpsim.engine import Engine, Job, Probe
from ndpsim.errors import ConfigError, unknown
from ndpsim.link.topology import Topology


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes from one device to another once the sends named by index in `after` have arrived."""

    src: str
    dst: str
    n_bytes: int
    after: tuple[int, ...] = ()


Sends = tuple[Send, ...]


@dataclass(frozen=True, slots=True)
class Collective:
    """What running a collective took: time, and bytes by resource of the topology."""

    duration_ps: int
    n_bytes: tuple[tuple[str, int], ...]


def run_sends(topology: Topology, sends: Sequence[Send], probe: Probe | None = None) -> Collective:
    """Run sends as flows; set-up is paid once, by the slowest route, before anything moves."""
    engine = Engine(topology.capacity, frozenset(), probe)
    routes = [topology.route(send.src, send.dst) for send in sends]
    begin = engine.delay("set-up", max((route.setup_ps for route in routes), default=0))
    jobs: list[Job] = []
    for send, route in zip(sends, routes, strict=True):
        after = [jobs[index] for index in send.after] or [begin]
        if route.resources:
            latency_ps = route.latency_ps
            job = engine.flow(
                "send", route.resources, send.n_bytes, latency_ps=latency_ps, after=after
            )
        else:
            job = engine.delay("send", route.latency_ps, after)
        jobs.append(job)
    duration_ps = engine.run(engine.delay("end", 0, [begin, *jobs]))
    return Collective(duration_ps, tuple(sorted(engine.bytes_moved().items())))


def broadcast(members: Sequence[str], n_bytes: int) -> Sends:
    """The first member's bytes to all others along a binomial tree."""
    sends: list[Send] = []
    has: dict[int, tuple[int, ...]] = {0: ()}
    distance = 1
    while distance < len(members):
        for rank in [r for r in sorted(has) if r + distance < len(members)]:
            sends.append(Send(members[rank], members[rank + distance], n_bytes, has[rank]))
            # a member sends to one other at a time: its next send follows this one
            has[rank] = has[rank + distance] = (len(sends) - 1,)
        distance *= 2
    return tuple(sends)


def gather(members: Sequence[str], n_bytes: int) -> Sends:
    """Each other member's bytes to the first, all at once."""
    return tuple(Send(member, members[0], n_bytes) for member in members[1:])


def reduce(members: Sequence[str], n_bytes: int) -> Sends:
    """The sum of all members' bytes on the first, along a binomial tree."""
    sends: list[Send] = []
    arrived: dict[int, tuple[int, ...]] = {}
    distance = 1
    while distance < len(members):
        for rank in range(0, len(members) - distance, 2 * distance):
            source = rank + distance
            sends.append(Send(members[source], members[rank], n_bytes, arrived.get(source, ())))
            arrived[rank] = (*arrived.get(rank, ()), len(sends) - 1)
        distance *= 2
    return tuple(sends)


def reduce_scatter(members: Sequence[str], n_bytes: int) -> Sends:
    """The sum of all members' bytes, a part on each, around a ring."""
    return _ring(members, n_bytes, len(members) - 1)


def all_gather(members: Sequence[str], n_bytes: int) -> Sends:
    """`n_bytes` in all, a part from each member, to every member around a ring."""
    return _ring(members, n_bytes, len(members) - 1)


def all_reduce_ring(members: Sequence[str], n_bytes: int) -> Sends:
    """The sum of all members' bytes on all of them: reduce-scatter, then all-gather."""
    return _ring(members, n_bytes, 2 * (len(members) - 1))


def all_reduce_tree(members: Sequence[str], n_bytes: int) -> Sends:
    """The sum along a binomial tree to the first member, then back to all."""
    up = reduce(members, n_bytes)
    done = tuple(index for index, send in enumerate(up) if send.dst == members[0])
    down = (
        Send(s.src, s.dst, n_bytes, tuple(i + len(up) for i in s.after) or done)
        for s in broadcast(members, n_bytes)
    )
    return (*up, *down)


def all_reduce_direct(members: Sequence[str], n_bytes: int) -> Sends:
    """Every member's bytes to every other, which all sum for themselves: one step, more bytes."""
    return tuple(Send(a, b, n_bytes) for a in members for b in members if a != b)


def all_reduce_two_step(members: Sequence[str], n_bytes: int) -> Sends:
    """Every member sums its own part from all others, then sends the sum to them."""
    n, parts = len(members), _parts(n_bytes, len(members))
    pairs = [(a, b) for b in range(n) for a in range(n) if a != b]
    scatter = [Send(members[a], members[b], parts[b]) for a, b in pairs]
    summed = [tuple(i for i, (_, b) in enumerate(pairs) if b == rank) for rank in range(n)]
    spread = [Send(members[b], members[a], parts[b], summed[b]) for a, b in pairs]
    return (*scatter, *spread)


def all_to_all(members: Sequence[str], n_bytes: int) -> Sends:
    """A part of each member's `n_bytes` to each other member."""
    parts = _parts(n_bytes, len(members))
    return tuple(
        Send(a, b, part)
        for a in members
        for b, part in zip(members, parts, strict=True)
        if a != b and part
    )


def all_to_all_rounds(members: Sequence[str], n_bytes: int) -> Sends:
    """The same, one peer at a time: in round i to the i-th neighbour, after the round before."""
    n, parts = len(members), _parts(n_bytes, len(members))
    sends: list[Send] = []
    for distance in range(1, n):
        for rank, member in enumerate(members):
            peer = (rank + distance) % n
            first = (distance - 2) * n
            after = () if distance == 1 else (first + rank, first + (rank - distance + 1) % n)
            sends.append(Send(member, members[peer], parts[peer], after))
    return tuple(sends)


ALL_REDUCE: Final[dict[str, Callable[[Sequence[str], int], Sends]]] = {
    "ring": all_reduce_ring,
    "tree": all_reduce_tree,
    "direct": all_reduce_direct,
    "two-step": all_reduce_two_step,
}
"""Algorithms of an all-reduce, by name."""


def all_reduce(
    topology: Topology, members: Sequence[str], n_bytes: int, algorithm: str = "ring"
) -> Collective:
    """Run an all-reduce of `n_bytes` on each of `members`.

    Raises
    ------
    ConfigError
        No such algorithm, or a member that the topology does not have.
    """
    if algorithm not in ALL_REDUCE:
        raise unknown("collective", "algorithm", algorithm, ALL_REDUCE)
    for member in members:
        if member not in topology.devices:
            raise ConfigError(
                "collective.members",
                f"no device '{member}'; devices: {', '.join(topology.devices)}",
            )
    return run_sends(topology, ALL_REDUCE[algorithm](members, n_bytes))


def _ring(members: Sequence[str], n_bytes: int, n_steps: int) -> Sends:
    """Each member passes on to the next what it got from the one before, part by part."""
    n = len(members)
    parts = _parts(n_bytes, n)
    sends: list[Send] = []
    for step in range(n_steps):
        for rank, member in enumerate(members):
            after = () if step == 0 else ((step - 1) * n + (rank - 1) % n,)
            if step and n > 1:
                after = (*after, (step - 1) * n + rank)
            part = parts[(rank - step) % n]
            sends.append(Send(member, members[(rank + 1) % n], part, after))
    return tuple(sends)


def _parts(n_bytes: int, n: int) -> list[int]:
    """`n_bytes` in `n` parts that differ by one byte at most."""
    return [n_bytes * (i + 1) // n - n_bytes * i // n for i in range(n)]
