"""Devices that a machine cannot tell apart, put in canonical order.

Units on one channel, and channels with equally many units, are alike: exchanging them changes only
names. An expert stage is therefore simulated with its units sorted by their work, and its outcome
is renamed. This is what makes the stages of expert parallelism few.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from ndpsim.system.machine import GPU, HOST, Machine, ranks_of

Block: TypeAlias = tuple[int, ...]
"""Indices of units that are alike."""

Renaming: TypeAlias = Mapping[str, str]
"""Name in the canonical stage -> name it stands for."""

AS_NAMED: Final[Renaming] = {}
"""Every name stands for itself."""

Active: TypeAlias = tuple[int, bool, int, int]
"""(home, resident, n_tokens, expert) of an active expert."""


class Symmetry:
    """Canonical orders of a machine's units, as far as its homes and links allow."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._classes = _classes(machine)
        self._renamings: dict[tuple[int, ...], Renaming] = {}

    def canonical(self, active: Sequence[Active]) -> tuple[list[Active], Renaming]:
        """Active experts with their homes renumbered, sorted; and what the new names stand for."""
        if not self._classes:
            return sorted(active), AS_NAMED
        work: list[list[tuple[bool, int]]] = [[] for _ in self._machine.units]
        for home, resident, n_tokens, _ in active:
            work[home].append((resident, n_tokens))
        for load in work:
            load.sort()
        stands_for = list(range(len(work)))
        for blocks in self._classes:
            filled = sorted(sorted(block, key=work.__getitem__) for block in blocks)
            filled.sort(key=lambda units: [work[unit] for unit in units])
            for block, units in zip(blocks, filled, strict=True):
                for place, unit in zip(block, units, strict=True):
                    stands_for[place] = unit
        place_of = {unit: place for place, unit in enumerate(stands_for)}
        renumbered = sorted((place_of[home], *rest) for home, *rest in active)
        return renumbered, self._renaming(tuple(stands_for))  # type: ignore[return-value]

    def _renaming(self, stands_for: tuple[int, ...]) -> Renaming:
        """One object per permutation; empty for the identity."""
        if stands_for not in self._renamings:
            names: dict[str, str] = {}
            for place, index in enumerate(stands_for):
                here, there = self._machine.units[place], self._machine.units[index]
                names |= {here: there, ranks_of(here): ranks_of(there)}
                names |= dict(
                    zip(_ways(self._machine, here), _ways(self._machine, there), strict=True)
                )
            self._renamings[stands_for] = {a: b for a, b in names.items() if a != b}
        return self._renamings[stands_for]


def rename(name: str, renaming: Renaming) -> str:
    """A resource, or a command "unit.COMMAND", under its own name."""
    if name in renaming:
        return renaming[name]
    unit, dot, command = name.partition(".")
    return renaming.get(unit, unit) + dot + command


def _classes(machine: Machine) -> tuple[tuple[Block, ...], ...]:
    """Blocks of units that are alike, in classes of blocks that are alike.

    None if homes are not whole on one unit each, or if units are chained to reduce.
    """
    whole = [home.shards[0].unit for home in machine.homes if len(home.shards) == 1]
    if (
        len(whole) < len(machine.homes)
        or whole != list(machine.units)
        or machine.ndp.reduce == "dimm-link"
    ):
        return ()
    blocks: dict[tuple[str, ...], list[int]] = {}
    for index, unit in enumerate(machine.units):
        blocks.setdefault(_ways(machine, unit), []).append(index)
    classes: list[list[Block]] = []
    for block in map(tuple, blocks.values()):
        for members in classes:
            if _alike(machine, members[0], block):
                members.append(block)
                break
        else:
            classes.append([block])
    return tuple(map(tuple, classes))


def _ways(machine: Machine, unit: str) -> tuple[str, ...]:
    """All resources between a unit and the GPU or the host, in order."""
    ends = ((GPU, unit), (unit, GPU), (HOST, unit), (unit, HOST))
    return tuple(resource for src, dst in ends for resource in machine.route(src, dst).resources)


def _alike(machine: Machine, first: Block, second: Block) -> bool:
    """Whether two blocks have equally many units behind equal links of their own."""
    one, other = (machine.units[block[0]] for block in (first, second))
    ways = list(zip(_ways(machine, one), _ways(machine, other), strict=False))
    rates = [(machine.capacity[a], machine.topology.energy[a]) for a, _ in ways]
    return (
        len(first) == len(second)
        and len(_ways(machine, one)) == len(_ways(machine, other))
        and rates == [(machine.capacity[b], machine.topology.energy[b]) for _, b in ways]
        and len({a for a, _ in ways}) == len({b for _, b in ways}) == len(set(ways))
        and machine.route(GPU, one).latency_ps == machine.route(GPU, other).latency_ps
    )
