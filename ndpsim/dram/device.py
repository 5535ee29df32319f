"""A `DramSpec` resolved to integers: what the controllers and the checker read."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, prod

from ndpsim.dram.spec import DramSpec, latency_cycles
from ndpsim.units import ceil_div


@dataclass(frozen=True, slots=True)
class Rule:
    """A timing constraint in cycles."""

    depth: int
    """Of its level, counted from the channel (0)."""
    preceding: frozenset[str]
    following: frozenset[str]
    latency: int
    window: int
    sibling: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the standard."""

    name: str
    action: str
    depth: int
    """Of the level it addresses; a bank's command has the greatest."""


@dataclass(frozen=True)
class Device:
    """One channel, its rules in cycles of its clock."""

    objects: tuple[str, ...]
    """Levels that commands address, from the channel to the bank."""
    counts: tuple[int, ...]
    """How many of each such level its parent holds; 1 for the channel."""
    rows: int
    lines_per_row: int
    """Column commands that read one row once."""
    transaction_bytes: int
    clock_hz: int
    commands: tuple[Command, ...]
    rules: tuple[Rule, ...]
    read_latency: int
    burst: int
    refresh_interval: int
    """Cycles between refreshes; 0 when none are sent."""
    read_queue: int
    write_queue: int
    write_high: int
    """To writes when more than this many wait."""
    write_low: int
    """Back to reads when fewer than this many wait."""

    @property
    def bank_depth(self) -> int:
        """Depth of the bank level."""
        return len(self.objects) - 1

    @property
    def n_banks(self) -> int:
        """Banks of the channel."""
        return prod(self.counts)

    @property
    def capacity_lines(self) -> int:
        """Transactions the channel holds."""
        return self.n_banks * self.rows * self.lines_per_row

    def named(self, action: str, depth: int | None = None) -> str:
        """The command that does `action` on objects of a depth (None: the only one)."""
        return next(
            command.name
            for command in self.commands
            if command.action == action and depth in (None, command.depth)
        )

    @cached_property
    def refresh_depth(self) -> int:
        """Depth of the objects that are refreshed as one."""
        return next(command.depth for command in self.commands if command.action == "refresh")

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Per bank: the index of the object it lies in, by depth, among all of that depth."""
        return tuple(
            tuple(bank // prod(self.counts[depth + 1 :]) for depth in range(len(self.counts)))
            for bank in range(self.n_banks)
        )

    def banks_in(self, depth: int, index: int) -> range:
        """The banks of one object."""
        size = prod(self.counts[depth + 1 :])
        return range(index * size, (index + 1) * size)

    def n_objects(self, depth: int) -> int:
        """Objects of one depth in the channel."""
        return prod(self.counts[: depth + 1])


def resolve(dram: DramSpec) -> Device:
    """All of a spec's symbols turned into cycles, its levels into depths."""
    standard, control = dram.standard, dram.controller
    cycles = dram.cycles()
    objects = standard.levels[:-2]
    counts = dram.organisation.counts
    rules = tuple(
        Rule(
            objects.index(rule.level),
            frozenset(rule.preceding),
            frozenset(rule.following),
            latency_cycles(rule.latency, cycles),
            rule.window,
            rule.sibling,
        )
        for rule in standard.constraints
    )
    interval = latency_cycles(standard.refresh_interval, cycles)
    return Device(
        objects=objects,
        counts=(1, *(counts[level] for level in objects[1:])),
        rows=counts["row"],
        lines_per_row=counts["column"] // dram.organisation.burst_length,
        transaction_bytes=dram.transaction_bytes,
        clock_hz=dram.clock,
        commands=tuple(
            Command(command.name, command.action, objects.index(command.scope))
            for command in standard.commands
        ),
        rules=rules,
        read_latency=latency_cycles(standard.read_latency, cycles),
        burst=latency_cycles(standard.burst, cycles),
        refresh_interval=interval if control.refresh == "all-bank" else 0,
        read_queue=control.read_queue,
        write_queue=control.write_queue,
        write_high=floor(_exact(control.write_high_frac) * control.write_queue),
        write_low=ceil(_exact(control.write_low_frac) * control.write_queue),
    )


def _exact(frac: float) -> Fraction:
    """The decimal a person wrote, not its nearest binary number."""
    return Fraction(str(frac))


def peak_bytes_per_s(dram: DramSpec) -> int:
    """Bytes per second when every burst follows the last as soon as bus and tCCD_S allow.

    Rounded down; activations, refresh and queues are not looked at.
    """
    device = resolve(dram)
    inner = device.bank_depth
    shared = [depth for depth in range(inner) if device.counts[depth + 1] > 1] or [inner]
    gap = min(max(device.burst, _read_gap(device, depth)) for depth in shared)
    return device.transaction_bytes * device.clock_hz // gap


def _read_gap(device: Device, shared_depth: int) -> int:
    """Cycles between two reads whose smallest common object has a depth."""
    read = device.named("read")
    return max(
        (
            rule.latency
            for rule in device.rules
            if read in rule.preceding & rule.following and rule.window == 1
            if (rule.depth == shared_depth + 1 if rule.sibling else rule.depth <= shared_depth)
        ),
        default=0,
    )


def command_energy_fj(dram: DramSpec, counts: Mapping[str, int]) -> int:
    """Femtojoules of a number of each command, without standby.

    A command without an entry in the spec costs nothing of its own.
    """
    return sum(dram.energy.get(name, 0) * count for name, count in counts.items())


def standby_energy_fj(dram: DramSpec, duration_ps: int) -> int:
    """Femtojoules all ranks of the channel draw over a time whatever they do, rounded up."""
    ranks = dram.organisation.counts.get("rank", 1)
    return ceil_div(dram.standby_power * ranks * duration_ps, 1000)
