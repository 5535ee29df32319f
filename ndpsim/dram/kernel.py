"""The reference controller transcribed for speed: the same commands in the same ticks.

The whole state is one vector of integers, so that it can be copied, compared and shifted in time;
the device is another. Two things differ from the reference's telling, not from its meaning: each
command notes at once until when every bank must wait for every other command, and ticks in which
nothing can happen are skipped.

Everything compiled lives in this file, because the compiler's cache is keyed on the file alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ndpsim.dram.device import Device, Rule, resolve
from ndpsim.dram.reference import Issued, Run
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import Deadlock

Ints = NDArray[np.int64]

NEVER: Final = -(1 << 40)
"""A tick long before the start."""
FAR: Final = 1 << 60
"""A tick that is never reached."""

# Places in the device vector: scalars, then where each table begins.
N_BANKS: Final = 0
N_COMMANDS: Final = 1
N_BUSES: Final = 2
TICKS_PER_CLOCK: Final = 3
ACT: Final = 4
PRE: Final = 5
RD: Final = 6
WR: Final = 7
REF: Final = 8
PRE_ALL: Final = 9
ACT_AGAIN: Final = 10
SYNC_RD: Final = 11
SYNC_WR: Final = 12
ACTIVATE_WITHIN: Final = 13
CLOCK_BANKS: Final = 14
AFTER_READ: Final = 15
AFTER_WRITE: Final = 16
KEEP_HITS: Final = 17
READ_LATENCY: Final = 18
REFRESH_INTERVAL: Final = 19
N_SCOPES: Final = 20
READ_QUEUE: Final = 21
WRITE_QUEUE: Final = 22
WRITE_HIGH: Final = 23
WRITE_LOW: Final = 24
PERIOD: Final = 25
PERIOD_ROWS: Final = 26
PERIOD_LINES: Final = 27
COMMANDS: Final = 28
"""Where the table of commands begins: bus, ticks, rising, first and end of effects and windows."""
WINDOWS: Final = 29
"""Where the table of windows begins: length, latency, banks, ring, then a flag per command."""
N_WINDOWS: Final = 30
AT_READY: Final = 31
AT_OPEN: Final = 32
AT_BUSY: Final = 33
AT_RINGS: Final = 34
AT_CLOCKS: Final = 35
AT_ACTIVE: Final = 36
AT_READS: Final = 37
AT_WRITES: Final = 38
PLAIN: Final = 39
"""1 with one bus, one edge, whole activations and no regard for hits."""
SYNC_TICKS: Final = 40
IN_ORDER: Final = 41
CLOSE_AFTER: Final = 42
POSTPONED: Final = 43
"""Refreshes of all scopes together that may be put off."""
AT_USED: Final = 44
N_CONFIG: Final = 45

# Columns of the table of commands.
BUS: Final = 0
TICKS: Final = 1
RISING: Final = 2
EFFECTS: Final = 3
EFFECTS_END: Final = 4
N_COMMAND_FIELDS: Final = 5

# Columns of an effect: `following` waits in a block of banks, but not in the own part of it.
FOLLOWING: Final = 0
BLOCK: Final = 1
OWN: Final = 2
LATENCY: Final = 3
STEP: Final = 4
N_EFFECT_FIELDS: Final = 5

# Columns of the table of windows; after them come per command two flags: fills it, waits for it.
WINDOW_LENGTH: Final = 0
WINDOW_LATENCY: Final = 1
WINDOW_BANKS: Final = 2
WINDOW_RING: Final = 3
N_WINDOW_FIELDS: Final = 4

# Places in the state vector.
TICK: Final = 0
OFFERED: Final = 1
NEXT_REFRESH: Final = 2
WRITE_MODE: Final = 3
N_ACTIVE: Final = 4
N_READS: Final = 5
N_WRITES: Final = 6
PENDING_HEAD: Final = 7
PENDING: Final = 8
LAST_DONE: Final = 9
N_LOG: Final = 10
HITS: Final = 11
MISSES: Final = 12
CONFLICTS: Final = 13
TURN: Final = 14
PLACE: Final = 15
SECOND_SLOT: Final = 16
"""1 while a read or write was sent in this tick and the other bus is still to be looked at."""
HALF_OPEN: Final = 17
"""Bank whose activation lacks its second command; -1 if there is none."""
HALF_ROW: Final = 18
HALF_NUMBER: Final = 19
DEADLINE: Final = 20
HELD: Final = 21
"""Which kind of request waits whose data clock was started: NOTHING, ACTIVE or WAITING."""
HELD_PLACE: Final = 22
HELD_COMMAND: Final = 23
BUS_FREE: Final = 24
COUNTS: Final = 26

# What is sent next.
NOTHING: Final = 0
ACTIVE: Final = 1
WAITING: Final = 2
REFRESH: Final = 3
SECOND_HALF: Final = 4
SYNC: Final = 5
CLOSING: Final = 6

# Rows of a queue after the order of its slots, those in use first.
NUMBER: Final = 1
BANK: Final = 2
ROW: Final = 3
ARRIVAL: Final = 4
LINE: Final = 5
SEEN: Final = 6
N_SLOT_FIELDS: Final = 7

# Rows of the active queue.
A_NUMBER: Final = 0
A_BANK: Final = 1
A_ROW: Final = 2
A_ARRIVAL: Final = 3
A_COMMAND: Final = 4
N_ACTIVE_FIELDS: Final = 5

# What a queue is searched for.
ANY: Final = 0
EITHER_BUS: Final = 1
ROW_BUS: Final = 2

# Outcomes of `advance`.
AT_BOUNDARY: Final = 0
COMPLETE: Final = 1
STUCK: Final = 2


@dataclass(frozen=True)
class Tables:
    """A device and a request pattern as integers for the kernel; see `build_tables`."""

    device: Device
    config: Ints
    """The device vector."""
    pattern: Ints
    """(4, period): bank, row, line, whether it is a write."""
    state_size: int

    def start(self, first_refresh: int | None = None) -> Ints:
        """A state before tick 1: everything closed, nothing waiting."""
        config = self.config
        state = np.zeros(self.state_size, dtype=np.int64)
        state[config[AT_READY] : config[AT_OPEN]] = NEVER
        state[config[AT_OPEN] : config[AT_BUSY]] = -1
        state[config[AT_RINGS] : config[AT_CLOCKS]] = NEVER
        state[HALF_OPEN] = -1
        for at, size in ((AT_READS, READ_QUEUE), (AT_WRITES, WRITE_QUEUE)):
            first = config[at]
            state[first : first + config[size]] = np.arange(config[size])
        interval = int(config[REFRESH_INTERVAL])
        state[NEXT_REFRESH] = (first_refresh or interval) if interval else FAR
        return state

    def charge_precharge(self, state: Ints, log: Ints) -> None:
        """See `Controller.charge_precharge`."""
        for bank, tick in self.device.charged_precharges:
            send(self.config, state, self.config[PRE_ALL], bank, -1, -1, tick, log)


def build_tables(dram: DramSpec, pattern: Ints, period: tuple[int, int] = (0, 0)) -> Tables:
    """Integers for the kernel; `pattern` repeats, each time `period` = (rows, lines) further."""
    device = resolve(dram)
    names = [command.name for command in device.commands]
    commands, effects = _command_tables(device, names)
    windows, ring_size = _window_table(device, names)
    config = np.zeros(N_CONFIG + commands.size + effects.size + windows.size, dtype=np.int64)
    tables = np.concatenate([commands.ravel(), effects.ravel(), windows.ravel()])
    config[N_CONFIG:] = tables
    first_effect = N_CONFIG + commands.size
    for field in (EFFECTS, EFFECTS_END):
        column = config[N_CONFIG + field : first_effect : N_COMMAND_FIELDS]
        column *= N_EFFECT_FIELDS
        column += first_effect
    values = _roles(device, names) | {
        N_BANKS: device.n_banks,
        N_COMMANDS: len(names),
        N_BUSES: device.n_buses,
        TICKS_PER_CLOCK: dram.standard.ticks_per_clock,
        ACTIVATE_WITHIN: device.activate_within,
        AFTER_READ: device.after_read,
        AFTER_WRITE: device.after_write,
        KEEP_HITS: int(device.keep_hits),
        READ_LATENCY: device.read_latency,
        REFRESH_INTERVAL: device.refresh_interval,
        N_SCOPES: device.n_objects(device.refresh_depth),
        READ_QUEUE: device.read_queue,
        WRITE_QUEUE: device.write_queue,
        WRITE_HIGH: device.write_high,
        WRITE_LOW: device.write_low,
        PERIOD: pattern.shape[1],
        PERIOD_ROWS: period[0],
        PERIOD_LINES: period[1],
        COMMANDS: N_CONFIG,
        WINDOWS: first_effect + effects.size,
        N_WINDOWS: len(windows),
        SYNC_TICKS: device.sync_ticks,
        IN_ORDER: int(device.in_order),
        CLOSE_AFTER: device.close_after,
        POSTPONED: device.postponed * device.n_objects(device.refresh_depth),
        PLAIN: int(
            device.n_buses == 1
            and dram.standard.ticks_per_clock == 1
            and not device.activate_within
            and not device.keep_hits
        ),
    }
    places, size = _state_places(device, len(names), ring_size)
    for place, value in (values | places).items():
        config[place] = value
    return Tables(device, config, np.ascontiguousarray(pattern), size)


def _roles(device: Device, names: list[str]) -> dict[int, int]:
    """Numbers of the commands by what they do; -1 for what the standard has not."""
    bank, scope = device.bank_depth, device.refresh_depth
    roles = {
        ACT: names.index(device.named("activate")),
        PRE: names.index(device.named("precharge", bank)),
        RD: names.index(device.named("read")),
        WR: names.index(device.named("write")),
        REF: names.index(device.named("refresh")),
        PRE_ALL: names.index(device.named("precharge", scope)),
    }
    done = {command.action: number for number, command in enumerate(device.commands)}
    for place, action in (
        (ACT_AGAIN, "activate-again"),
        (SYNC_RD, "sync-read"),
        (SYNC_WR, "sync-write"),
    ):
        roles[place] = done.get(action, -1)
    depth = device.data_clock_depth
    roles[CLOCK_BANKS] = device.n_banks // device.n_objects(depth) if depth >= 0 else 0
    return roles


def _command_tables(device: Device, names: list[str]) -> tuple[Ints, Ints]:
    """The table of commands, whose effects are counted from 0, and the effects of them all."""
    commands = np.zeros((len(names), N_COMMAND_FIELDS), dtype=np.int64)
    effects: list[tuple[int, ...]] = []
    for number, command in enumerate(device.commands):
        first = len(effects)
        effects += _effects(device, names, command.name)
        commands[number] = command.bus, command.ticks, command.rising, first, len(effects)
    return commands, np.array(effects, dtype=np.int64).reshape(-1, N_EFFECT_FIELDS)


def _effects(device: Device, names: list[str], preceding: str) -> Iterator[tuple[int, ...]]:
    """What a command makes wait, without what another of its effects covers."""
    for number, following in enumerate(names):
        scope = device.banks_per(device.commands[number].depth)
        own = [
            rule
            for rule in device.rules
            if rule.window == 1 and preceding in rule.preceding and following in rule.following
        ]
        for rule in own:
            if not any(_covers(other, rule, own) for other in own):
                block = device.banks_per(rule.depth - rule.sibling)
                excluded = device.banks_per(rule.depth) if rule.sibling else 0
                yield number, block, excluded, rule.latency, scope


def _covers(other: Rule, rule: Rule, rules: list[Rule]) -> bool:
    """Whether a rule is superfluous beside another; of equal ones the first stays."""
    if other is rule or other.sibling or other.latency < rule.latency:
        return False
    if other.depth > rule.depth - rule.sibling:
        return False
    equal = (other.depth, other.latency) == (rule.depth, rule.latency) and not rule.sibling
    return not equal or rules.index(other) < rules.index(rule)


def _window_table(device: Device, names: list[str]) -> tuple[Ints, int]:
    rules = [rule for rule in device.rules if rule.window > 1]
    table = np.zeros((len(rules), N_WINDOW_FIELDS + 2 * len(names)), dtype=np.int64)
    ring = 0
    for number, rule in enumerate(rules):
        table[number, :N_WINDOW_FIELDS] = (
            rule.window, rule.latency, device.banks_per(rule.depth), ring,
        )  # fmt: skip
        ring += rule.window * device.n_objects(rule.depth)
        for side, members in enumerate((rule.preceding, rule.following)):
            for name in members:
                table[number, N_WINDOW_FIELDS + 2 * names.index(name) + side] = 1
    return table, ring


def _state_places(device: Device, n_commands: int, ring_size: int) -> tuple[dict[int, int], int]:
    """Where the parts of the state vector begin, and its length."""
    n_banks = device.n_banks
    n_clocks = device.n_objects(device.data_clock_depth) if device.data_clock_depth >= 0 else 0
    parts = {
        AT_READY: n_banks * n_commands,
        AT_OPEN: n_banks,
        AT_BUSY: n_banks,
        AT_USED: n_banks,
        AT_RINGS: ring_size,
        AT_CLOCKS: n_clocks,
        AT_ACTIVE: N_ACTIVE_FIELDS * n_banks,
        AT_READS: N_SLOT_FIELDS * device.read_queue,
        AT_WRITES: N_SLOT_FIELDS * device.write_queue,
    }
    places, at = {}, COUNTS + n_commands
    for part, size in parts.items():
        places[part] = at
        at += size
    return places, at


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


@_compiled
def _wait(state, first, n_banks, step, until):  # type: ignore[no-untyped-def]
    """Raises the ticks in a block of banks to at least `until`."""
    at = np.uint64(first)
    if step == 1:
        for place in range(n_banks):
            index = at + np.uint64(place)
            state[index] = max(state[index], until)
        return
    for place in range(0, n_banks, step):
        index = at + np.uint64(place)
        state[index] = max(state[index], until)


@_compiled
def send(config, state, command, bank, row, number, tick, log):  # type: ignore[no-untyped-def]
    """Issues a command: starts the waits it causes, opens or closes rows, counts and logs.

    A command to more than one bank is addressed by, and waits at, the first of them.
    """
    n_banks, n_commands = config[N_BANKS], config[N_COMMANDS]
    ready, open_row = config[AT_READY], config[AT_OPEN]
    own = config[COMMANDS] + command * N_COMMAND_FIELDS
    state[BUS_FREE + config[own + BUS]] = tick + config[own + TICKS]
    for effect in range(config[own + EFFECTS], config[own + EFFECTS_END], N_EFFECT_FIELDS):
        block, excluded = config[effect + BLOCK], config[effect + OWN]
        base = ready + config[effect + FOLLOWING] * n_banks
        step, until = config[effect + STEP], tick + config[effect + LATENCY]
        start = bank & -block
        end = start + block
        if excluded > 0:
            _wait(state, base + start, (bank & -excluded) - start, step, until)
            start = (bank & -excluded) + excluded
        _wait(state, base + start, end - start, step, until)
    for window in range(config[N_WINDOWS]):
        at = config[WINDOWS] + window * (N_WINDOW_FIELDS + 2 * n_commands)
        flags = at + N_WINDOW_FIELDS
        if config[flags + 2 * command] == 0:
            continue
        length, block = config[at + WINDOW_LENGTH], config[at + WINDOW_BANKS]
        ring = config[AT_RINGS] + config[at + WINDOW_RING] + bank // block * length
        for place in range(ring, ring + length - 1):
            state[place] = state[place + 1]
        state[ring + length - 1] = tick
        until = state[ring] + config[at + WINDOW_LATENCY]
        for following in range(n_commands):
            if config[flags + 2 * following + 1] == 1:
                base = ready + following * n_banks + (bank & -block)
                _wait(state, base, block, 1, until)
    if command == config[ACT]:
        state[open_row + bank] = row
    elif command == config[PRE]:
        state[open_row + bank] = -1
    elif command == config[PRE_ALL]:
        for other in range(bank, bank + n_banks // config[N_SCOPES]):
            state[open_row + other] = -1
    state[COUNTS + command] += 1
    at = state[N_LOG]
    if at < log.shape[0]:
        log[at, 0] = tick
        log[at, 1] = command
        log[at, 2] = bank
        log[at, 3] = row
        log[at, 4] = number
        state[N_LOG] = at + 1


@_compiled
def _is_queued_write(config, state, line):  # type: ignore[no-untyped-def]
    """Whether a write to a transaction waits."""
    at, size = config[AT_WRITES], config[WRITE_QUEUE]
    for position in range(state[N_WRITES]):
        slot = at + state[at + position]
        if state[slot + LINE * size] == line:
            return True
    return False


@_compiled
def _offer(config, pattern, state, until, total, done, first):  # type: ignore[no-untyped-def]
    """Takes requests in order until one is refused, or `until` or `total` are taken."""
    while state[OFFERED] < total and state[OFFERED] != until:
        number, turn, place = state[OFFERED], state[TURN], state[PLACE]
        is_write = pattern[3, place]
        line = pattern[2, place] + turn * config[PERIOD_LINES]
        if state[N_WRITES] > 0 and _is_queued_write(config, state, line):
            done[number - first] = state[TICK] + 1
            state[LAST_DONE] = max(state[LAST_DONE], state[TICK] + 1)
        else:
            waiting = N_WRITES if is_write else N_READS
            size = config[WRITE_QUEUE] if is_write else config[READ_QUEUE]
            at = config[AT_WRITES] if is_write else config[AT_READS]
            n_waiting = state[waiting]
            if n_waiting >= size:
                return
            slot = at + state[at + n_waiting]
            state[slot + NUMBER * size] = number
            state[slot + BANK * size] = pattern[0, place]
            state[slot + ROW * size] = pattern[1, place] + turn * config[PERIOD_ROWS]
            state[slot + ARRIVAL * size] = state[TICK]
            state[slot + LINE * size] = line
            state[slot + SEEN * size] = 0
            state[waiting] = n_waiting + 1
        state[OFFERED] = number + 1
        state[PLACE] = place + 1
        if place + 1 == config[PERIOD]:
            state[PLACE] = 0
            state[TURN] = turn + 1


@_compiled
def _earliest(config, state, command, bank, tick):  # type: ignore[no-untyped-def]
    """The first tick from `tick` on in which a command may go to a bank."""
    own = config[COMMANDS] + command * N_COMMAND_FIELDS
    earliest = state[config[AT_READY] + command * config[N_BANKS] + bank]
    # an odd tick for a command of the rising edge
    return max(earliest, tick, state[BUS_FREE + config[own + BUS]]) | config[own + RISING]


@_compiled
def _best_active(config, state, tick):  # type: ignore[no-untyped-def]
    """Of the requests whose row is open: the place of the next to be sent, and the tick.

    The earliest legal one, of several in one tick the first arrived.
    """
    n_banks, at = config[N_BANKS], config[AT_ACTIVE]
    best, when = -1, FAR
    n_active = min(state[N_ACTIVE], 1) if config[IN_ORDER] == 1 else state[N_ACTIVE]
    for place in range(at, at + n_active):
        bank = state[place + A_BANK * n_banks]
        if bank == state[HALF_OPEN]:
            continue
        command = state[place + A_COMMAND * n_banks]
        earliest = _earliest(config, state, command, bank, tick)
        if earliest < when or (
            earliest == when
            and state[place + A_ARRIVAL * n_banks] < state[best + A_ARRIVAL * n_banks]
        ):
            best, when = place, earliest
    return best, when


@_compiled
def _next_refresh_command(config, state, tick):  # type: ignore[no-untyped-def]
    """What the head of the waiting refreshes needs, and the tick in which it may be sent."""
    per_scope = config[N_BANKS] // config[N_SCOPES]
    bank = state[PENDING_HEAD] * per_scope
    command = config[REF]
    for other in range(bank, bank + per_scope):
        if state[config[AT_BUSY] + other] > 0:
            return -1, FAR
        if state[config[AT_OPEN] + other] >= 0:
            command = config[PRE_ALL]
    return command, _earliest(config, state, command, bank, tick)


@_compiled
def _set_mode(config, state):  # type: ignore[no-untyped-def]
    """Reads unless there are none or too many writes wait."""
    if state[WRITE_MODE] == 0:
        if state[N_WRITES] > config[WRITE_HIGH] or state[N_READS] == 0:
            state[WRITE_MODE] = 1
    elif state[N_WRITES] < config[WRITE_LOW] and state[N_READS] > 0:
        state[WRITE_MODE] = 0


@_compiled
def _older_hit(state, at, size, n_waiting, bank, row, arrival):  # type: ignore[no-untyped-def]
    """Whether a request of a queue, no younger than `arrival`, hits an open row."""
    for position in range(n_waiting):
        slot = at + state[at + position]
        if (
            state[slot + BANK * size] == bank
            and state[slot + ROW * size] == row
            and state[slot + ARRIVAL * size] <= arrival
        ):
            return True
    return False


@_compiled
def _best_waiting(config, state, at, size, n_waiting, column, tick, wanted):  # type: ignore[no-untyped-def]
    """Of a queue: the next request to be sent on either bus.

    (position, tick) on the bus of reads and writes, then (position, command, tick) of an activation
    or precharge. The earliest legal one, of several in one tick the first arrived. The search ends
    with the first that may be sent at once and is wanted.
    """
    n_banks, ready = config[N_BANKS], config[AT_READY]
    activate, precharge = config[ACT], config[PRE]
    fields = config[COMMANDS]
    activates = fields + activate * N_COMMAND_FIELDS
    precharges = fields + precharge * N_COMMAND_FIELDS
    columns = fields + column * N_COMMAND_FIELDS
    row_free = max(tick, state[BUS_FREE + config[activates + BUS]])
    column_free = max(tick, state[BUS_FREE + config[columns + BUS]])
    half_open, keep_hits = state[HALF_OPEN], config[KEEP_HITS]
    activate_rises, precharge_rises = config[activates + RISING], config[precharges + RISING]
    column_rises = config[columns + RISING]
    best_column, column_when = -1, FAR
    best_row, row_command, row_when = -1, -1, FAR
    # places as unsigned numbers: no check for places counted from the end
    order, banks = np.uint64(at), np.uint64(at + BANK * size)
    rows = np.uint64(at + ROW * size)
    open_rows, busy = np.uint64(config[AT_OPEN]), np.uint64(config[AT_BUSY])
    column_ready = np.uint64(ready + column * n_banks)
    activate_ready = np.uint64(ready + activate * n_banks)
    precharge_ready = np.uint64(ready + precharge * n_banks)
    for position in range(n_waiting):
        slot = np.uint64(state[order + np.uint64(position)])
        bank = np.uint64(state[banks + slot])
        row = state[open_rows + bank]
        if row == state[rows + slot]:
            if wanted == ROW_BUS or np.int64(bank) == half_open:
                continue
            earliest = max(state[column_ready + bank], column_free) | column_rises
            if earliest < column_when:
                best_column, column_when = position, earliest
                if earliest <= tick:
                    break
            continue
        if row < 0:
            if half_open >= 0:
                continue
            command = activate
            earliest = max(state[activate_ready + bank], row_free) | activate_rises
        else:
            if state[busy + bank] > 0:
                continue
            if keep_hits == 1 and _older_hit(
                state, at, size, n_waiting, np.int64(bank), row,
                state[np.int64(slot) + at + ARRIVAL * size],
            ):  # fmt: skip
                continue
            command = precharge
            earliest = max(state[precharge_ready + bank], row_free) | precharge_rises
        if earliest < row_when:
            best_row, row_command, row_when = position, command, earliest
            if earliest <= tick and wanted != EITHER_BUS:
                break
    return best_column, column_when, best_row, row_command, row_when


@_compiled
def _best_on_one_bus(config, state, at, size, n_waiting, column, tick):  # type: ignore[no-untyped-def]
    """`_best_waiting` where all commands share a bus and nothing else is special.

    (position, command, tick). Without branches on what the requests need: no processor foresees
    them.
    """
    n_banks, ready = config[N_BANKS], config[AT_READY]
    activate, precharge = config[ACT], config[PRE]
    own = config[COMMANDS] + column * N_COMMAND_FIELDS
    free = max(tick, state[BUS_FREE + config[own + BUS]])
    # places as unsigned numbers: no check for places counted from the end
    order, banks = np.uint64(at), np.uint64(at + BANK * size)
    rows = np.uint64(at + ROW * size)
    open_rows, busy = np.uint64(config[AT_OPEN]), np.uint64(config[AT_BUSY])
    column_ready = np.uint64(ready + column * n_banks)
    activate_ready = np.uint64(ready + activate * n_banks)
    precharge_ready = np.uint64(ready + precharge * n_banks)
    best, when = -1, FAR
    for position in range(n_waiting):
        slot = np.uint64(state[order + np.uint64(position)])
        bank = np.uint64(state[banks + slot])
        row = state[open_rows + bank]
        hit = row == state[rows + slot]
        first = column_ready if hit else (activate_ready if row < 0 else precharge_ready)
        blocked = state[busy + bank] * FAR
        earliest = state[first + bank] + (0 if hit or row < 0 else blocked)
        if earliest < when:
            best, when = position, earliest
            if earliest <= free:
                break
    if best < 0 or when >= FAR // 2:
        return -1, -1, FAR
    slot = at + state[at + best]
    row = state[config[AT_OPEN] + state[slot + BANK * size]]
    command = activate if row < 0 else precharge
    if row == state[slot + ROW * size]:
        command = column
    return best, command, max(when, free)


@_compiled
def _leave_active(config, state, place):  # type: ignore[no-untyped-def]
    """Takes a request out of the active queue."""
    n_banks, at = config[N_BANKS], config[AT_ACTIVE]
    state[config[AT_BUSY] + state[place + A_BANK * n_banks]] = 0
    state[N_ACTIVE] -= 1
    for field in range(N_ACTIVE_FIELDS):
        for other in range(place + field * n_banks, at + field * n_banks + state[N_ACTIVE]):
            state[other] = state[other + 1]


@_compiled
def _leave_queue(state, waiting, at, position):  # type: ignore[no-untyped-def]
    """Takes a request out of a queue; its slot becomes free."""
    last = state[waiting] - 1
    slot = state[at + position]
    for place in range(np.uint64(at + position), np.uint64(at + last)):
        state[place] = state[place + np.uint64(1)]
    state[at + last] = slot
    state[waiting] = last


@_compiled
def _classify(config, state, flag, command):  # type: ignore[no-untyped-def]
    """Hit, miss or conflict, by the first command that a request needs."""
    if state[flag] == 1:
        return
    state[flag] = 1
    if command == config[ACT]:
        state[MISSES] += 1
    elif command == config[PRE]:
        state[CONFLICTS] += 1
    else:
        state[HITS] += 1


@_compiled
def _enter_active(config, state, slot, size, column):  # type: ignore[no-untyped-def]
    """Puts the request of a queue's slot at the end of the active queue."""
    n_banks = config[N_BANKS]
    place = config[AT_ACTIVE] + state[N_ACTIVE]
    bank = state[slot + BANK * size]
    state[place + A_NUMBER * n_banks] = state[slot + NUMBER * size]
    state[place + A_BANK * n_banks] = bank
    state[place + A_ROW * n_banks] = state[slot + ROW * size]
    state[place + A_ARRIVAL * n_banks] = state[slot + ARRIVAL * size]
    state[place + A_COMMAND * n_banks] = column
    state[config[AT_BUSY] + bank] = 1
    state[N_ACTIVE] += 1


@_compiled
def _retire(config, state, command, bank, number, when, done, first):  # type: ignore[no-untyped-def]
    """Completes a request whose read or write goes out; keeps its data clock running."""
    state[config[AT_USED] + bank] = when
    is_read = command == config[RD]
    finish = when + (config[READ_LATENCY] if is_read else 0)
    done[number - first] = finish
    state[LAST_DONE] = max(state[LAST_DONE], finish)
    if config[CLOCK_BANKS] > 0:
        clock = config[AT_CLOCKS] + bank // config[CLOCK_BANKS]
        runs = config[AFTER_READ] if is_read else config[AFTER_WRITE]
        state[clock] = max(state[clock], when + runs)


@_compiled
def _choose(config, state, tick):  # type: ignore[no-untyped-def]
    """The next thing to be sent: (what, place, command, tick); (NOTHING, -1, -1, FAR) if none.

    `place` lies in the active queue, or is a position in the queue of the mode.
    """
    two_buses, second = config[N_BUSES] == 2, state[SECOND_SLOT] == 1
    what, place, command, when = NOTHING, -1, -1, FAR
    # (a) the active queue, unless something else may be sent before
    if not second:
        place, when = _best_active(config, state, tick)
        if place >= 0:
            what, command = ACTIVE, state[place + A_COMMAND * config[N_BANKS]]
    if when <= tick:
        return what, place, command, when
    n_outstanding = state[N_ACTIVE] + state[N_READS] + state[N_WRITES]
    if state[PENDING] > config[POSTPONED] or (state[PENDING] > 0 and n_outstanding == 0):
        # (b) the head of the refreshes
        refresh, row_when = _next_refresh_command(config, state, tick)
        if row_when < when:
            return REFRESH, -1, refresh, row_when
        return what, place, command, when
    # (c) the queue of the mode
    _set_mode(config, state)
    is_write = state[WRITE_MODE] == 1
    column = config[WR] if is_write else config[RD]
    n_waiting = state[N_WRITES] if is_write else state[N_READS]
    if config[IN_ORDER] == 1:
        n_waiting = min(n_waiting, 1)
    if config[PLAIN] == 1:
        best, best_command, best_when = _best_on_one_bus(
            config,
            state,
            config[AT_WRITES] if is_write else config[AT_READS],
            config[WRITE_QUEUE] if is_write else config[READ_QUEUE],
            n_waiting,
            column,
            tick,
        )
        if best_when < when:
            return WAITING, best, best_command, best_when
        return what, place, command, when
    wanted = ANY
    if two_buses:
        wanted = ROW_BUS if second else EITHER_BUS
    hit, column_when, position, row_command, row_when = _best_waiting(
        config,
        state,
        config[AT_WRITES] if is_write else config[AT_READS],
        config[WRITE_QUEUE] if is_write else config[READ_QUEUE],
        n_waiting,
        column,
        tick,
        wanted,
    )
    if column_when < when:
        what, place, command, when = WAITING, hit, column, column_when
    elif row_when == when:
        # the active queue goes first
        return what, place, command, when
    # on one bus, of two of the same queue the first arrived goes first
    if row_when < when or (row_when == when and not two_buses and position < hit):
        return WAITING, position, row_command, row_when
    return what, place, command, when


@_compiled
def _is_wanted(config, state, bank, row):  # type: ignore[no-untyped-def]
    """Whether a waiting request hits a row."""
    for at, size, waiting in (
        (config[AT_READS], config[READ_QUEUE], state[N_READS]),
        (config[AT_WRITES], config[WRITE_QUEUE], state[N_WRITES]),
    ):
        for position in range(waiting):
            slot = at + state[at + position]
            if state[slot + BANK * size] == bank and state[slot + ROW * size] == row:
                return True
    return False


@_compiled
def _best_closing(config, state, tick, limit):  # type: ignore[no-untyped-def]
    """The first bank whose row may be closed unasked, and the tick, if it comes before `limit`."""
    best, when = -1, limit
    for bank in range(config[N_BANKS]):
        row = state[config[AT_OPEN] + bank]
        if row < 0 or state[config[AT_BUSY] + bank] > 0:
            continue
        unused = max(tick, state[config[AT_USED] + bank] + config[CLOSE_AFTER])
        earliest = _earliest(config, state, config[PRE], bank, unused)
        if earliest < when and not _is_wanted(config, state, bank, row):
            best, when = bank, earliest
    return best, when


@_compiled
def advance(config, pattern, state, until, total, done, first, log):  # type: ignore[no-untyped-def]
    """Runs until `until` requests were taken (-1: no stop) or all of `total` are complete.

    ``done[number - first]`` becomes the tick in which a request was complete. `log` is (n, 5):
    tick, command, bank, row, request; it may be empty.
    """
    n_banks = config[N_BANKS]
    while True:
        second = state[SECOND_SLOT] == 1
        all_sent = False
        if not second:
            _offer(config, pattern, state, until, total, done, first)
            if state[OFFERED] == until:
                return AT_BOUNDARY
            n_outstanding = state[N_ACTIVE] + state[N_READS] + state[N_WRITES]
            all_sent = state[OFFERED] == total and n_outstanding == 0
            if all_sent and state[TICK] >= state[LAST_DONE]:
                return COMPLETE
        tick = state[TICK] + 1 - state[SECOND_SLOT]
        if tick == state[NEXT_REFRESH]:
            state[PENDING] += config[N_SCOPES]
            state[NEXT_REFRESH] += config[REFRESH_INTERVAL]
        held = state[HELD]
        if held == NOTHING:
            what, place, command, when = _choose(config, state, tick)
        else:
            what, place, command, when = held, state[HELD_PLACE], state[HELD_COMMAND], tick
        if config[CLOSE_AFTER] >= 0 and held == NOTHING and state[HALF_OPEN] < 0 and when > tick:
            closing, closing_when = _best_closing(config, state, tick, when)
            if closing >= 0:
                what, place, command, when = CLOSING, closing, config[PRE], closing_when
        if second:
            state[SECOND_SLOT] = 0
            if when > tick:
                continue
        is_write = state[WRITE_MODE] == 1
        at = config[AT_WRITES] if is_write else config[AT_READS]
        size = config[WRITE_QUEUE] if is_write else config[READ_QUEUE]
        slot, bank, row, number = -1, -1, -1, -1
        if what == WAITING:
            slot = at + state[at + place]
            bank, row = state[slot + BANK * size], state[slot + ROW * size]
            number = state[slot + NUMBER * size]
        elif what == ACTIVE:
            bank, row = state[place + A_BANK * n_banks], state[place + A_ROW * n_banks]
            number = state[place + A_NUMBER * n_banks]
        elif what == CLOSING:
            bank, row = place, state[config[AT_OPEN] + place]
        elif what == REFRESH:
            bank = state[PENDING_HEAD] * (n_banks // config[N_SCOPES])
        if held != NOTHING:
            when = _earliest(config, state, command, bank, tick)
        elif state[HALF_OPEN] >= 0:
            again = _earliest(config, state, config[ACT_AGAIN], state[HALF_OPEN], tick)
            if when > again or when >= state[DEADLINE]:
                what, command, when = SECOND_HALF, config[ACT_AGAIN], again
        if all_sent and min(when, state[NEXT_REFRESH]) > state[LAST_DONE]:
            state[TICK] = state[LAST_DONE]
            return COMPLETE
        if when >= state[NEXT_REFRESH]:
            # a refresh becomes due before: look again then
            state[TICK] = state[NEXT_REFRESH] - 1
            continue
        if when == FAR:
            return STUCK
        is_column = command == config[RD] or command == config[WR]
        if (
            config[CLOCK_BANKS] > 0
            and held == NOTHING
            and is_column
            and when >= state[config[AT_CLOCKS] + bank // config[CLOCK_BANKS]]
        ):
            if state[HALF_OPEN] >= 0 and state[DEADLINE] <= when + config[SYNC_TICKS]:
                what, command = SECOND_HALF, config[ACT_AGAIN]
            else:
                state[HELD], state[HELD_PLACE], state[HELD_COMMAND] = what, place, command
                command = config[SYNC_RD] if command == config[RD] else config[SYNC_WR]
                what = SYNC
        if what == SECOND_HALF:
            bank, row, number = state[HALF_OPEN], state[HALF_ROW], state[HALF_NUMBER]
        state[TICK] = when
        send(config, state, command, bank, row, number, when, log)
        if what == SYNC:
            continue
        if what == SECOND_HALF:
            state[HALF_OPEN] = -1
            continue
        state[HELD] = NOTHING
        if what == CLOSING:
            continue
        if what == REFRESH:
            if command == config[REF]:
                state[PENDING] -= 1
                state[PENDING_HEAD] = (state[PENDING_HEAD] + 1) % config[N_SCOPES]
            continue
        if what == ACTIVE:
            _leave_active(config, state, place)
        else:
            _classify(config, state, slot + SEEN * size, command)
            if command == config[PRE]:
                continue
            if command == config[ACT]:
                column = config[WR] if is_write else config[RD]
                _enter_active(config, state, slot, size, column)
                if config[ACTIVATE_WITHIN] > 0:
                    state[HALF_OPEN], state[HALF_ROW], state[HALF_NUMBER] = bank, row, number
                    state[DEADLINE] = when + config[ACTIVATE_WITHIN]
            _leave_queue(state, N_WRITES if is_write else N_READS, at, place)
        if is_column:
            _retire(config, state, command, bank, number, when, done, first)
            state[SECOND_SLOT] = config[N_BUSES] - 1


@_compiled
def first_unserved(config, state):  # type: ignore[no-untyped-def]
    """The lowest number of a request that is taken but not served, or that is to be taken next."""
    first = state[OFFERED]
    for place in range(state[N_ACTIVE]):
        first = min(first, state[config[AT_ACTIVE] + A_NUMBER * config[N_BANKS] + place])
    if state[N_READS] > 0:
        at, size = config[AT_READS], config[READ_QUEUE]
        first = min(first, state[at + NUMBER * size + state[at]])
    if state[N_WRITES] > 0:
        at, size = config[AT_WRITES], config[WRITE_QUEUE]
        first = min(first, state[at + NUMBER * size + state[at]])
    return first


@_compiled
def canonical(config, state, out):  # type: ignore[no-untyped-def]
    """Writes the state as seen from now: two states with equal futures look the same.

    Time counts from the current clock, rows and request numbers from the turn of the pattern before
    the oldest request; waits that are over, counters and the distance to the next refresh are
    dropped.
    """
    n_banks, period = config[N_BANKS], config[PERIOD]
    now = state[TICK] % config[TICKS_PER_CLOCK]
    start = state[TICK] - now
    turns = first_unserved(config, state) // period - 1
    rows, numbers = turns * config[PERIOD_ROWS], turns * period
    lines = turns * config[PERIOD_LINES]
    out[:] = 0
    out[TICK] = now
    out[OFFERED] = state[OFFERED] - numbers
    out[TURN] = state[TURN] - turns
    for place in (
        WRITE_MODE, N_ACTIVE, N_READS, N_WRITES, PENDING_HEAD, PENDING, PLACE, SECOND_SLOT, HELD,
    ):  # fmt: skip
        out[place] = state[place]
    if state[HELD] != NOTHING:
        out[HELD_PLACE], out[HELD_COMMAND] = state[HELD_PLACE], state[HELD_COMMAND]
    out[HALF_OPEN] = state[HALF_OPEN]
    if state[HALF_OPEN] >= 0:
        out[HALF_ROW] = state[HALF_ROW] - rows
        out[HALF_NUMBER] = state[HALF_NUMBER] - numbers
        out[DEADLINE] = state[DEADLINE] - start
    for bus in range(config[N_BUSES]):
        out[BUS_FREE + bus] = max(state[BUS_FREE + bus] - start, now + 1)
    for place in range(config[AT_READY], config[AT_OPEN]):
        out[place] = max(state[place] - start, now + 1)
    for place in range(config[AT_CLOCKS], config[AT_ACTIVE]):
        out[place] = max(state[place] - start, now + 1)
    for bank in range(n_banks):
        row = state[config[AT_OPEN] + bank]
        if row >= 0:
            # rows before that turn cannot be hit again and are all alike
            row = max(row - rows, 0)
        out[config[AT_OPEN] + bank] = row
        out[config[AT_BUSY] + bank] = state[config[AT_BUSY] + bank]
        if config[CLOSE_AFTER] >= 0:
            used = state[config[AT_USED] + bank] - start
            out[config[AT_USED] + bank] = max(used, -config[CLOSE_AFTER])
    _canonical_windows(config, state, out, start)
    at = config[AT_ACTIVE]
    for place in range(at, at + state[N_ACTIVE]):
        out[place + A_NUMBER * n_banks] = state[place + A_NUMBER * n_banks] - numbers
        out[place + A_BANK * n_banks] = state[place + A_BANK * n_banks]
        out[place + A_ROW * n_banks] = state[place + A_ROW * n_banks] - rows
        out[place + A_ARRIVAL * n_banks] = state[place + A_ARRIVAL * n_banks] - start
        out[place + A_COMMAND * n_banks] = state[place + A_COMMAND * n_banks]
    for at, size, waiting in (
        (config[AT_READS], config[READ_QUEUE], state[N_READS]),
        (config[AT_WRITES], config[WRITE_QUEUE], state[N_WRITES]),
    ):
        for position in range(size):
            out[at + position] = position
        for position in range(waiting):
            slot, place = at + state[at + position], at + position
            out[place + NUMBER * size] = state[slot + NUMBER * size] - numbers
            out[place + BANK * size] = state[slot + BANK * size]
            out[place + ROW * size] = state[slot + ROW * size] - rows
            out[place + ARRIVAL * size] = state[slot + ARRIVAL * size] - start
            out[place + LINE * size] = state[slot + LINE * size] - lines
            out[place + SEEN * size] = state[slot + SEEN * size]
    _rank_arrivals(config, out)


@_compiled
def _canonical_windows(config, state, out, start):  # type: ignore[no-untyped-def]
    """Commands in windows, as seen from `start`; those too long ago are all alike."""
    for window in range(config[N_WINDOWS]):
        at = config[WINDOWS] + window * (N_WINDOW_FIELDS + 2 * config[N_COMMANDS])
        first = config[AT_RINGS] + config[at + WINDOW_RING]
        n_objects = config[N_BANKS] // config[at + WINDOW_BANKS]
        for place in range(first, first + n_objects * config[at + WINDOW_LENGTH]):
            out[place] = max(state[place] - start, -config[at + WINDOW_LATENCY])


@_compiled
def _rank_arrivals(config, out):  # type: ignore[no-untyped-def]
    """Replaces arrival times by their order, ..., -2, -1; those of this very tick stay.

    Only the order of arrivals matters, and requests are numbered in the order of arrival.
    """
    n_banks = config[N_BANKS]
    level, below = 0, out[TICK]
    while True:
        latest = NEVER
        for at, waiting in (
            (config[AT_ACTIVE] + A_ARRIVAL * n_banks, out[N_ACTIVE]),
            (config[AT_READS] + ARRIVAL * config[READ_QUEUE], out[N_READS]),
            (config[AT_WRITES] + ARRIVAL * config[WRITE_QUEUE], out[N_WRITES]),
        ):
            for position in range(waiting):
                arrival = out[at + position]
                if arrival < below and arrival > latest:
                    latest = arrival
        if latest == NEVER:
            return
        level -= 1
        for at, waiting in (
            (config[AT_ACTIVE] + A_ARRIVAL * n_banks, out[N_ACTIVE]),
            (config[AT_READS] + ARRIVAL * config[READ_QUEUE], out[N_READS]),
            (config[AT_WRITES] + ARRIVAL * config[WRITE_QUEUE], out[N_WRITES]),
        ):
            for position in range(waiting):
                if out[at + position] == latest:
                    out[at + position] = level
        below = latest


NO_LOG: Final[Ints] = np.zeros((0, 5), dtype=np.int64)
"""For runs that keep no log."""


def run(
    dram: DramSpec,
    requests: Iterable[tuple[int, bool]] | Ints,
    *,
    first_refresh: int | None = None,
    charge_precharge: bool = False,
    max_log: int = 0,
) -> Run:
    """What `reference.run` does, with the first `max_log` commands logged.

    `requests` may be an array (n, 2) as well: transaction, whether it is written.
    """
    lines, writes = _columns_of(requests)
    bank, row, column = dram.mapping().locate_all(lines)
    tables = build_tables(dram, np.stack([bank, row, lines, writes]))
    n_requests = len(lines)
    done = np.zeros(max(n_requests, 1), dtype=np.int64)
    log = np.zeros((max_log, 5), dtype=np.int64) if max_log else NO_LOG
    state = tables.start(first_refresh)
    if charge_precharge:
        tables.charge_precharge(state, log)
    outcome = advance(tables.config, tables.pattern, state, -1, n_requests, done, 0, log)
    if outcome == STUCK:
        raise Deadlock("dram", f"no command can be issued after tick {state[TICK]}")
    names = [command.name for command in tables.device.commands]
    counts = [int(count) for count in state[COUNTS : COUNTS + len(names)]]
    return Run(
        int(state[TICK]),
        tuple(done[:n_requests].tolist()),
        int(state[HITS]),
        int(state[MISSES]),
        int(state[CONFLICTS]),
        {name: count for name, count in zip(names, counts, strict=True) if count},
        tuple(
            Issued(tick, names[command], bank, row, int(column[number]) if number >= 0 else -1)
            for tick, command, bank, row, number in log[: state[N_LOG]].tolist()
        ),
    )


def _columns_of(requests: Iterable[tuple[int, bool]] | Ints) -> tuple[Ints, Ints]:
    if not isinstance(requests, np.ndarray):
        requests = np.array(list(requests), dtype=np.int64).reshape(-1, 2)
    table = requests.astype(np.int64, copy=False)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])
