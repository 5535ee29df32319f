"""Compute units beside the banks: a matrix-vector product by near-bank commands.

Sets of banks are activated as the supply allows; each multiply-accumulate command reads one
transaction in every open bank at tCCD_L, without the data bus; a set is precharged when its row is
done. Refreshes come when they are due.
"""

from dataclasses import dataclass

from ndpsim.dram.device import resolve
from ndpsim.dram.spec import DramSpec, NearBankCommandSpec, NearBankRuleSpec, latency_cycles
from ndpsim.errors import ConfigError
from ndpsim.units import PS_PER_S


@dataclass(frozen=True, slots=True)
class NearBankRun:
    """What a product took in one unit."""

    ticks: int
    n_bytes: int
    """Weights read in the banks."""
    log: tuple[tuple[int, str, int], ...]
    """(tick, command, set of banks; -1 for all)."""
    clock_hz: int

    @property
    def bytes_per_s(self) -> float:
        """Rate at which one unit's banks read weights."""
        return self.n_bytes * self.clock_hz / self.ticks

    @property
    def duration_ps(self) -> int:
        """From entering the mode to leaving it."""
        return -(-self.ticks * PS_PER_S // self.clock_hz)


@dataclass(slots=True)
class _Set:
    """Banks that are activated together."""

    rows_left: int
    columns_left: int = 0
    """Of the open row; 0 when it is done or closed."""
    is_open: bool = False


class _Unit:
    """One unit in the mode: when each command may go, and what it does."""

    def __init__(self, dram: DramSpec, *, power_limited: bool) -> None:
        near = dram.standard.near_bank
        if near is None:
            raise ConfigError(dram.standard.family, "it has no near-bank commands")
        self.device = device = resolve(dram)
        depth = device.objects.index(near.level)
        self.n_sets = device.banks_per(depth) // near.banks_per_set
        self.banks_per_set = near.banks_per_set
        self.of: dict[str, NearBankCommandSpec] = {c.action: c for c in near.commands}
        self.tick = 0
        self.log: list[tuple[int, str, int]] = []
        self._ticks = {command.name: command.ticks for command in near.commands}
        self._free = dict.fromkeys((command.bus for command in near.commands), 0)
        self._rules = [
            (rule, latency_cycles(rule.latency, dram.ticks()))
            for rule in near.constraints
            if power_limited or not rule.power
        ]
        self._last: dict[tuple[str, int], int] = {}

    def earliest(self, action: str, place: int = -1) -> int:
        """The first tick from now in which a command may go to a set, or to all."""
        command = self.of[action]
        waits = [self.tick, self._free[command.bus]]
        for rule, latency in self._rules:
            if command.name in rule.following:
                waits += self._waits(rule, latency + 1 - command.ticks, place)
        tick = max(waits)
        return tick | 1 if command.rising else tick

    def _waits(self, rule: NearBankRuleSpec, latency: int, place: int) -> list[int]:
        """Ticks until which a rule holds a command back; `latency` counts from a last tick."""
        key = place if rule.scope == "set" else -1
        last = [self._last.get((name, key)) for name in rule.preceding]
        return [tick + latency for tick in last if tick is not None]

    def send(self, action: str, tick: int, place: int = -1, reached: tuple[int, ...] = ()) -> None:
        """Issues a command; `reached` are the sets that one to all acts on."""
        command = self.of[action]
        self.tick = tick
        end = tick + command.ticks - 1
        self._free[command.bus] = end + 1
        for key in {-1, place, *reached}:
            self._last[command.name, key] = end
        self.log.append((tick, command.name, place))


def near_bank_product(
    dram: DramSpec, n_rows: int, *, power_limited: bool = True, n_inputs: int = 32
) -> NearBankRun:
    """Multiply `n_rows` rows of every bank of a unit with a vector.

    Parameters
    ----------
    power_limited
        Whether activations keep to the window of the supply (tFAW); without, the part is assumed to
        have a stronger one.
    n_inputs
        Transactions written to the global buffer before, and results read after.
    """
    unit = _Unit(dram, power_limited=power_limited)
    device = unit.device
    sets = [_Set(n_rows) for _ in range(unit.n_sets)]
    unit.send("enter", unit.earliest("enter"))
    for _ in range(n_inputs):
        unit.send("write-buffer", unit.earliest("write-buffer"))
    next_refresh = device.refresh_interval or 1 << 60
    while any(one.is_open or one.rows_left for one in sets):
        refresh_due = unit.tick >= next_refresh
        if refresh_due and not any(one.is_open for one in sets):
            unit.send("refresh", unit.earliest("refresh"))
            next_refresh += device.refresh_interval
            continue
        _next(unit, sets, device.lines_per_row, may_open=not refresh_due)
    for _ in range(n_inputs):
        unit.send("read-result", unit.earliest("read-result"))
    unit.send("exit", unit.earliest("exit"))
    n_bytes = n_rows * unit.n_sets * unit.banks_per_set
    n_bytes *= device.lines_per_row * device.transaction_bytes
    return NearBankRun(unit.tick, n_bytes, tuple(unit.log), device.clock_hz)


def _next(unit: _Unit, sets: list[_Set], columns: int, *, may_open: bool) -> None:
    """Sends the command that may go first; of several a precharge, then an activation."""
    choices: list[tuple[int, int, str, int]] = []
    for place, one in enumerate(sets):
        if one.is_open and not one.columns_left:
            choices.append((unit.earliest("precharge", place), 0, "precharge", place))
        elif not one.is_open and one.rows_left and may_open:
            choices.append((unit.earliest("activate", place), 1, "activate", place))
        elif one.columns_left:
            choices.append((unit.earliest("mac", place), 2, "mac", place))
    tick, _, action, place = min(choices)
    if action == "mac":
        ready = tuple(
            p for p, one in enumerate(sets) if one.columns_left and unit.earliest("mac", p) <= tick
        )
        unit.send("mac", tick, reached=ready)
        for p in ready:
            sets[p].columns_left -= 1
        return
    unit.send(action, tick, place)
    one = sets[place]
    one.is_open = action == "activate"
    if one.is_open:
        one.rows_left -= 1
        one.columns_left = columns
