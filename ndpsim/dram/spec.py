"""A DRAM standard, one organisation of it and its timings, as data.

Nothing here knows the name of a standard: levels, commands, constraints and symbols come from the
preset, and a latency is a sum of symbols with integer coefficients.
"""

from collections.abc import Collection, Mapping
from itertools import chain
from math import prod
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from ndpsim.dram.mapping import AddressMapping, fit_mapping
from ndpsim.errors import nearest
from ndpsim.spec.model import (
    Count,
    CountOrZero,
    Energy,
    Frequency,
    PositiveFrac,
    Power,
    Spec,
    Time,
)
from ndpsim.units import cycles_from_ps, parse_quantity

CLOCK = "clock"
"""The symbol of one clock cycle, for the constants of a standard's formulas."""

Action = Literal[
    "activate", "activate-again", "precharge", "read", "write", "refresh", "sync-read", "sync-write"
]
"""What a command does. `activate-again` is the second half of an activation that takes two
commands; `sync-...` starts the data clock before a read or write."""


def _one_at_least(terms: dict[str, int]) -> dict[str, int]:
    if not terms:
        raise ValueError("expected at least one symbol with its coefficient")
    return terms


def _a_duration(value: int | str) -> int | str:
    if isinstance(value, str):
        parse_quantity(value, "time")
    elif value < 0:
        raise ValueError("expected a whole number of cycles, zero or more")
    return value


Latency = Annotated[dict[str, int], AfterValidator(_one_at_least)]
"""Symbol (`nRCD`, `nCL`, `clock`) -> coefficient; their sum is a number of cycles."""
Duration = Annotated[int | str, AfterValidator(_a_duration)]
"""Cycles for a symbol `nXYZ`, a time with its unit for a symbol `tXYZ`."""


def latency_cycles(terms: Mapping[str, int], cycles: Mapping[str, int]) -> int:
    """The sum that a latency stands for.

    >>> latency_cycles({"nCL": 1, "nCWL": -1, "clock": 2}, {"nCL": 24, "nCWL": 20, "clock": 1})
    6
    """
    return sum(factor * cycles[name] for name, factor in terms.items())


class CommandSpec(Spec):
    """One command of a standard."""

    name: str
    """As the standard writes it: ACT, PREpb, RD, ..."""
    action: Action
    """What it does to the banks in its scope."""
    scope: str
    """The level it addresses: a bank's command or a whole rank's."""
    bus: str = "command"
    """The command bus it is sent on; one command per bus and tick."""
    ticks: Count = 1
    """How long it occupies that bus. Waits count from its last tick; its own tick is the first."""
    rising: bool = False
    """Sent at the rising edge only, where a tick is half a clock."""


class DataClockSpec(Spec):
    """A data clock that stops when it is not used, and is started by a command (LPDDR5's WCK)."""

    level: str
    """The level whose objects have one each."""
    after_read: Latency
    """How long it runs on after a read command ..."""
    after_write: Latency
    """... and after a write command."""


class ConstraintSpec(Spec):
    """How long `following` waits after `preceding` on the same object of a level."""

    level: str
    """The level of the object both commands address, or lie in."""
    preceding: tuple[str, ...]
    """Commands that start the wait."""
    following: tuple[str, ...]
    """Commands that wait."""
    latency: Latency
    """The wait."""
    window: Count = 1
    """The wait starts at the `window`-th last preceding command (four for tFAW)."""
    sibling: bool = False
    """The wait holds on the *other* objects of the level under the same parent instead."""


NearBankAction = Literal[
    "enter", "exit", "activate", "precharge", "mac", "write-buffer", "read-result", "refresh"
]


class NearBankCommandSpec(Spec):
    """One command to the compute units beside the banks."""

    name: str
    """As the command set writes it."""
    action: NearBankAction
    """Enter or leave the mode, activate or precharge a set of banks, a multiply-accumulate in all
    open banks, write the global buffer, read results, refresh."""
    scope: Literal["set", "all"]
    """One set of banks that are activated together, or all of the unit."""
    bus: str
    """The command bus it is sent on."""
    ticks: Count = 1
    """How long it occupies that bus."""
    rising: bool = False
    """Sent at the rising edge only."""


class NearBankRuleSpec(Spec):
    """How long a command waits after another, in the same set of banks or anywhere in the unit."""

    scope: Literal["set", "all"]
    """Where the two must meet."""
    preceding: tuple[str, ...]
    """Commands that start the wait."""
    following: tuple[str, ...]
    """Commands that wait."""
    latency: Latency
    """The wait, from last tick to last tick."""
    power: bool = False
    """Whether the supply, not the cells, asks for it: a stated relaxation may lift it."""


class NearBankSpec(Spec):
    """Commands that compute in the banks: each reads its own row, the data bus is not used."""

    level: str
    """The level whose objects are units: their banks are driven together."""
    banks_per_set: Count
    """Banks that one activation opens."""
    commands: tuple[NearBankCommandSpec, ...]
    """One of each action."""
    constraints: tuple[NearBankRuleSpec, ...]
    """All timing rules of the mode."""

    @model_validator(mode="after")
    def _check_commands(self) -> Self:
        actions = [command.action for command in self.commands]
        for action in get_args(NearBankAction):
            if actions.count(action) != 1:
                raise ValueError(f"commands: expected exactly one that does '{action}'")
        names = [command.name for command in self.commands]
        for rule in self.constraints:
            for name in (*rule.preceding, *rule.following):
                _known(name, names, "constraints: command")
        return self


class StandardSpec(Spec):
    """What every part of a standard has in common."""

    preset_kind: ClassVar[str | None] = "dram/standard"

    family: str
    """The standard's name, for readers."""
    levels: tuple[str, ...]
    """From the channel down to the column; commands address banks, the level before the row."""
    commands: tuple[CommandSpec, ...]
    """All commands the controller may issue."""
    constraints: tuple[ConstraintSpec, ...]
    """All timing rules."""
    read_latency: Latency
    """From a read command to its last beat."""
    burst: Latency
    """Cycles the data bus is busy per column command."""
    refresh_interval: Latency
    """Cycles between two refreshes of the same object."""
    ticks_per_clock: Count = 1
    """Ticks of the controller per clock: 2 where commands are sent at both edges."""
    activate_within: Latency | None = None
    """At the latest so long after the first half of an activation comes the second."""
    data_clock: DataClockSpec | None = None
    """The data clock, if it must be started by commands."""
    near_bank: NearBankSpec | None = None
    """Commands to compute units beside the banks, where a part has them; see `nearbank`."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.levels[:1] != ("channel",) or self.levels[-2:] != ("row", "column"):
            raise ValueError("levels: expected 'channel' first and 'row', 'column' last")
        objects = self.levels[:-2]
        names = [command.name for command in self.commands]
        for command in self.commands:
            _known(command.scope, objects, f"commands: {command.name}: scope")
        scope = {command.name: command.scope for command in self.commands}
        for index, rule in enumerate(self.constraints):
            where = f"constraints.{index}"
            _known(rule.level, objects, f"{where}.level")
            for name in (*rule.preceding, *rule.following):
                _known(name, names, f"{where}: command")
                if objects.index(rule.level) > objects.index(scope[name]):
                    raise ValueError(f"{where}: {name} addresses a whole {scope[name]}")
            if rule.sibling and (rule.level == "channel" or rule.window != 1):
                raise ValueError(f"{where}: siblings need a level below the channel and no window")
        self._check_roles()
        self._check_extras(objects)
        self._check_refresh_delays()
        return self

    def _check_roles(self) -> None:
        """The controller needs each of these commands once."""
        bank = self.levels[-3]
        refreshes = [command.scope for command in self.commands if command.action == "refresh"]
        if len(refreshes) != 1:
            raise ValueError("commands: expected exactly one that does 'refresh'")
        roles = [("activate", bank), ("read", bank), ("write", bank), ("precharge", bank)]
        for action, scope in [*roles, ("precharge", refreshes[0])]:
            if sum(c.action == action and c.scope == scope for c in self.commands) != 1:
                raise ValueError(
                    f"commands: expected exactly one that does '{action}' to a {scope}"
                )

    def _check_extras(self, objects: tuple[str, ...]) -> None:
        """Commands of features, exactly where the features are."""
        features = {
            "activate-again": self.activate_within is not None,
            "sync-read": self.data_clock is not None,
            "sync-write": self.data_clock is not None,
        }
        for action, wanted in features.items():
            if sum(command.action == action for command in self.commands) != wanted:
                field = "activate_within" if action == "activate-again" else "data_clock"
                raise ValueError(f"commands: one that does '{action}' and '{field}' go together")
        if self.data_clock is not None:
            _known(self.data_clock.level, objects, "data_clock: level")
        buses = {command.bus for command in self.commands}
        columns = {c.bus for c in self.commands if c.action in ("read", "write")}
        if len(buses) > 2 or len(columns) != 1:
            raise ValueError("commands: expected reads and writes on one bus, at most one more bus")
        if len(buses) == 2 and any(features.values()):
            raise ValueError("commands: two buses go with neither a data clock nor two activations")
        if self.ticks_per_clock > 2:
            raise ValueError(f"ticks_per_clock: expected 1 or 2, got {self.ticks_per_clock}")

    def _check_refresh_delays(self) -> None:
        """Without one, a refresh would take no time."""
        action = {command.name: command.action for command in self.commands}
        for rule in self.constraints:
            if "refresh" in {action[name] for name in rule.preceding} and "activate" in {
                action[name] for name in rule.following
            }:
                return
        raise ValueError("constraints: none makes an activation wait for a refresh")

    def symbols(self) -> set[str]:
        """Every timing symbol the standard's rules use."""
        sums = [self.read_latency, self.burst, self.refresh_interval]
        sums += [self.activate_within] if self.activate_within else []
        if self.data_clock:
            sums += [self.data_clock.after_read, self.data_clock.after_write]
        used = chain(*sums, *(rule.latency for rule in self.constraints))
        return set(used) - {CLOCK}


class OrganisationSpec(Spec):
    """How one channel of a part or module is built."""

    channel_width_bits: Count
    """Data bits of the channel."""
    burst_length: Count
    """Beats per column command (the prefetch)."""
    counts: dict[str, Count]
    """Level below the channel -> how many of it its parent holds; powers of two."""

    @model_validator(mode="after")
    def _check_powers_of_two(self) -> Self:
        for name, count in [*self.counts.items(), ("burst_length", self.burst_length)]:
            if count & (count - 1):
                raise ValueError(f"{name}: expected a power of two, got {count}")
        if self.channel_width_bits % 8:
            raise ValueError(f"channel_width_bits: {self.channel_width_bits} is not whole bytes")
        return self


class ControllerSpec(Spec):
    """The memory controller of one channel."""

    read_queue: Count = 32
    """Reads that may wait."""
    write_queue: Count = 32
    """Writes that may wait."""
    write_high_frac: PositiveFrac = 0.8
    """Writes are served once more than this share of their queue is taken ..."""
    write_low_frac: PositiveFrac = 0.2
    """... until less than this share is, if reads wait."""
    scheduler: Literal["FRFCFS", "FRFCFSRowHit", "FCFS"] = "FRFCFS"
    """First ready, first come, first served: a row hit is not preferred to other ready commands.
    `FRFCFSRowHit` keeps a row open while an older request of the queue hits it. `FCFS` looks at the
    first request only, of each queue and of those whose row is open."""
    row_policy: Literal["open", "closed", "timeout"] = "open"
    """`open`: a row stays open until another one of its bank is asked for. `closed`: it is closed
    when no waiting request hits it and nothing else can be sent. `timeout`: so, but only some time
    after its last read or write."""
    row_timeout: Time = 200_000
    """That time."""
    refresh: Literal["all-bank", "none"] = "all-bank"
    """Which refreshes are sent."""
    postponed_refreshes: CountOrZero = 0
    """Refreshes of an object that may be put off while requests wait."""

    @model_validator(mode="after")
    def _check_watermarks(self) -> Self:
        if self.write_low_frac > self.write_high_frac:
            raise ValueError("write_low_frac: expected at most write_high_frac")
        return self


class DramSpec(Spec):
    """One channel: a standard, an organisation, timings, an address mapping and a controller."""

    preset_kind: ClassVar[str | None] = "dram"

    standard: StandardSpec
    organisation: OrganisationSpec
    clock: Frequency
    """The command clock; every `n` symbol counts its cycles."""
    timing: dict[str, Duration]
    """Symbol -> cycles (`nRCD: 24`) or time (`tRFC: 550 ns`, rounded up to cycles)."""
    mapper: str = "RoBaRaCoCh"
    """A named address mapping or a bit string such as 'ro ba bg ra co'; see `mapping`."""
    controller: ControllerSpec = Field(default_factory=ControllerSpec)
    energy: dict[str, Energy] = Field(default_factory=dict)
    """Command -> energy of one, over all devices of the rank, beyond standby."""
    standby_power: Power = 0
    """Of one rank, all the time."""

    @model_validator(mode="after")
    def _check_parts_fit(self) -> Self:
        levels = self.standard.levels[1:]
        for level in self.organisation.counts:
            _known(level, levels, "organisation.counts: level")
        for level in levels:
            _known(level, self.organisation.counts, "organisation.counts: missing level")
        if self.organisation.counts["column"] < self.organisation.burst_length:
            raise ValueError("organisation: a burst is longer than a row")
        for name in self.energy:
            _known(name, [command.name for command in self.standard.commands], "energy: command")
        self._check_timing()
        try:
            self.mapping()
        except ValueError as error:
            raise ValueError(f"mapper: {error}") from None
        return self

    def _check_timing(self) -> None:
        used = self.standard.symbols()
        for symbol, value in self.timing.items():
            _known("n" + symbol[1:], used, "timing: symbol")
            wanted = {"n": int, "t": str}.get(symbol[:1])
            if wanted is None or not isinstance(value, wanted):
                raise ValueError(
                    f"timing.{symbol}: 'n' symbols take cycles, 't' symbols a time, got {value!r}"
                )
            if symbol[0] == "t" and "n" + symbol[1:] in self.timing:
                raise ValueError(f"timing.{symbol}: given in cycles as well")
        cycles = self.cycles()
        for symbol in sorted(used - set(cycles)):
            raise ValueError(f"timing: {symbol} (or t{symbol[1:]}) is missing")
        self._check_refresh(self.ticks())

    def _check_refresh(self, cycles: dict[str, int]) -> None:
        """A bank must get a turn between two refreshes, or nothing would ever be read."""
        standard = self.standard
        refresh = next(command for command in standard.commands if command.action == "refresh")
        activate = next(command for command in standard.commands if command.action == "activate")
        above = standard.levels[1 : standard.levels.index(refresh.scope) + 1]
        busy = prod(self.organisation.counts[level] for level in above) + max(
            latency_cycles(rule.latency, cycles)
            for rule in standard.constraints
            if refresh.name in rule.preceding and activate.name in rule.following
        )
        interval = latency_cycles(standard.refresh_interval, cycles)
        if self.controller.refresh != "none" and interval <= busy:
            raise ValueError(
                f"timing: refreshes leave no time to read: one in {interval} cycles, {busy} busy"
            )

    def cycles(self) -> dict[str, int]:
        """Symbol -> cycles of the clock, times rounded up."""
        return {
            "n" + symbol[1:]: (
                value
                if isinstance(value, int)
                else cycles_from_ps(parse_quantity(value, "time"), self.clock)
            )
            for symbol, value in self.timing.items()
        }

    def ticks(self) -> dict[str, int]:
        """Symbol -> ticks of the controller, `CLOCK` included."""
        per_clock = self.standard.ticks_per_clock
        return {name: n * per_clock for name, n in (self.cycles() | {CLOCK: 1}).items()}

    def mapping(self) -> AddressMapping:
        """The address mapping, fitted to the organisation."""
        counts = self.organisation.counts
        sizes = {level: counts[level] for level in self.standard.levels[1:]}
        sizes["column"] //= self.organisation.burst_length
        return fit_mapping(self.mapper, sizes)

    @property
    def transaction_bytes(self) -> int:
        """Bytes one column command moves."""
        return self.organisation.channel_width_bits * self.organisation.burst_length // 8


def _known(name: str, known: Collection[str], what: str) -> None:
    if name not in known:
        listed = ", ".join(sorted(known))
        raise ValueError(f"{what} '{name}' is unknown; known: {listed}{nearest(name, known)}")
