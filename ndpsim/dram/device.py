"""A `DramSpec` resolved to integers: what the controllers and the checker read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, prod

from ndpsim.dram.spec import ConstraintSpec, DramSpec, StandardSpec, latency_cycles
from ndpsim.units import PS_PER_S, ceil_div


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
    constraint: int
    """Which of the standard's constraints it stems from."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the standard."""

    name: str
    action: str
    depth: int
    """Of the level it addresses; a bank's command has the greatest."""
    bus: int
    """Its bus: 0 carries reads and writes, and if there is no other all else, too."""
    ticks: int
    """On its bus."""
    rising: bool
    """Sent in odd ticks only."""


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
    activate_within: int
    """From the first to the second half of an activation at most; 0 if it has no halves."""
    data_clock_depth: int
    """Of the objects with a data clock that must be started; -1 if none must."""
    after_read: int
    """How long a data clock runs on after a read ..."""
    after_write: int
    """... and after a write."""
    keep_hits: bool
    """A row stays open while an older request of the queue hits it."""
    in_order: bool
    """Only the first request of a queue may be served."""
    close_after: int
    """Ticks from a bank's last read or write until its row may be closed unasked; -1 for never."""
    postponed: int
    """Refreshes that may be put off while requests wait."""
    refresh_interval: int
    """Cycles between refreshes; 0 when none are sent."""
    read_queue: int
    write_queue: int
    write_high: int
    """To writes when more than this many wait."""
    write_low: int
    """Back to reads when fewer than this many wait."""

    @cached_property
    def n_buses(self) -> int:
        """Command buses; each carries one command per tick."""
        return 1 + max(command.bus for command in self.commands)

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
    def sync_ticks(self) -> int:
        """From the start of a data clock to the read or write that waits for it."""
        syncs = {c.name for c in self.commands if c.action in ("sync-read", "sync-write")}
        return max((rule.latency for rule in self.rules if syncs & rule.preceding), default=1)

    @cached_property
    def charged_precharges(self) -> tuple[tuple[int, int], ...]:
        """(first bank, tick) of precharges of everything, one after the other before tick 1."""
        name = self.named("precharge", self.refresh_depth)
        ticks = next(command.ticks for command in self.commands if command.name == name)
        size = self.banks_per(self.refresh_depth)
        n_objects = self.n_objects(self.refresh_depth)
        return tuple((index * size, 1 - ticks * (index + 1)) for index in range(n_objects))

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

    def banks_per(self, depth: int) -> int:
        """Banks of each object of one depth."""
        return prod(self.counts[depth + 1 :])

    def n_objects(self, depth: int) -> int:
        """Objects of one depth in the channel."""
        return prod(self.counts[: depth + 1])


def resolve(dram: DramSpec) -> Device:
    """All of a spec's symbols turned into cycles, its levels into depths."""
    standard, control = dram.standard, dram.controller
    ticks = dram.ticks()
    objects = standard.levels[:-2]
    counts = dram.organisation.counts
    column_bus = next(c.bus for c in standard.commands if c.action == "read")
    interval = latency_cycles(standard.refresh_interval, ticks)
    clock = standard.data_clock
    return Device(
        objects=objects,
        counts=(1, *(counts[level] for level in objects[1:])),
        rows=counts["row"],
        lines_per_row=counts["column"] // dram.organisation.burst_length,
        transaction_bytes=dram.transaction_bytes,
        clock_hz=dram.clock * standard.ticks_per_clock,
        commands=tuple(
            Command(
                command.name,
                command.action,
                objects.index(command.scope),
                int(command.bus != column_bus),
                command.ticks,
                command.rising,
            )
            for command in standard.commands
        ),
        rules=tuple(
            rule
            for number, constraint in enumerate(standard.constraints)
            for rule in _rules(standard, number, constraint, ticks)
        ),
        read_latency=latency_cycles(standard.read_latency, ticks),
        burst=latency_cycles(standard.burst, ticks),
        activate_within=latency_cycles(standard.activate_within or {}, ticks),
        data_clock_depth=objects.index(clock.level) if clock else -1,
        after_read=latency_cycles(clock.after_read, ticks) if clock else 0,
        after_write=latency_cycles(clock.after_write, ticks) if clock else 0,
        keep_hits=control.scheduler == "FRFCFSRowHit",
        in_order=control.scheduler == "FCFS",
        close_after=_close_after(dram),
        postponed=control.postponed_refreshes,
        refresh_interval=interval if control.refresh == "all-bank" else 0,
        read_queue=control.read_queue,
        write_queue=control.write_queue,
        write_high=floor(_exact(control.write_high_frac) * control.write_queue),
        write_low=ceil(_exact(control.write_low_frac) * control.write_queue),
    )


def _close_after(dram: DramSpec) -> int:
    control = dram.controller
    if control.row_policy == "open":
        return -1
    waits = control.row_policy == "timeout"
    hz = dram.clock * dram.standard.ticks_per_clock
    return ceil_div(control.row_timeout * hz, PS_PER_S) if waits else 0


def _rules(
    standard: StandardSpec, number: int, rule: ConstraintSpec, ticks: Mapping[str, int]
) -> Iterator[Rule]:
    """A constraint between the first ticks of commands; one rule per length of the commands.

    The standard counts from the last tick of the one to the last of the other.
    """
    length = {command.name: command.ticks for command in standard.commands}
    nominal = latency_cycles(rule.latency, ticks)
    for before in sorted({length[name] for name in rule.preceding}):
        for after in sorted({length[name] for name in rule.following}):
            latency = nominal + before - after
            if latency > 0:
                yield Rule(
                    standard.levels.index(rule.level),
                    frozenset(name for name in rule.preceding if length[name] == before),
                    frozenset(name for name in rule.following if length[name] == after),
                    latency,
                    rule.window,
                    rule.sibling,
                    number,
                )


def preset_of(organisation: str, timing: str) -> str:
    """The preset of an organisation and a timing as Ramulator names them.

    Both in lower case with hyphens, without the family's name before the timing.

    >>> preset_of("DDR5_16Gb_x8", "DDR5_4800AN")
    'ddr5-16gb-x8-4800an'
    """
    _, _, speed = timing.partition("_")
    return f"{organisation}_{speed}".lower().replace("_", "-")


def _exact(frac: float) -> Fraction:
    """The decimal a person wrote, not its nearest binary number."""
    return Fraction(str(frac))


def peak_bytes_per_s(dram: DramSpec) -> int:
    """Bytes per second when every burst follows the last as soon as bus and tCCD_S allow.

    Rounded down; activations, refresh and queues are not looked at.
    """
    device = resolve(dram)
    inner, depth, n_buses = device.bank_depth, 0, 1
    while depth < inner and _read_gap(device, depth) == 0:
        # nothing ties reads of these objects: each has its own data bus
        depth += 1
        n_buses *= device.counts[depth]
    shared = [d for d in range(depth, inner) if device.counts[d + 1] > 1] or [inner]
    gap = min(max(device.burst, _read_gap(device, d)) for d in shared)
    read = next(command for command in device.commands if command.action == "read")
    bytes_of_all = device.transaction_bytes * device.clock_hz
    return min(n_buses * bytes_of_all // gap, bytes_of_all // read.ticks)


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
