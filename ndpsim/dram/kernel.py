"""The reference controller transcribed for speed: the same commands in the same ticks.

The whole state is one vector of integers, so that it can be copied, compared and shifted in time;
the rules are tables. Two things differ from the reference's telling, not from its meaning: all
rules between a pair of commands are folded into one latency per relation of their banks, and ticks
in which nothing can happen are skipped.

Everything compiled lives in this file, because the compiler's cache is keyed on the file alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ndpsim.dram.device import Device, resolve
from ndpsim.dram.reference import Issued, Run
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import Deadlock

Ints = NDArray[np.int64]

NEVER: Final = -(1 << 40)
"""A tick long before the start."""
FAR: Final = 1 << 60
"""A tick that is never reached."""

# Places in the configuration vector.
N_BANKS: Final = 0
N_COMMANDS: Final = 1
ACT: Final = 2
PRE: Final = 3
RD: Final = 4
WR: Final = 5
REF: Final = 6
PRE_ALL: Final = 7
READ_LATENCY: Final = 8
REFRESH_INTERVAL: Final = 9
N_SCOPES: Final = 10
READ_QUEUE: Final = 11
WRITE_QUEUE: Final = 12
WRITE_HIGH: Final = 13
WRITE_LOW: Final = 14
PERIOD: Final = 15
PERIOD_ROWS: Final = 16
PERIOD_LINES: Final = 17
AT_READY: Final = 18
AT_OPEN: Final = 19
AT_BUSY: Final = 20
AT_RINGS: Final = 21
AT_ACTIVE: Final = 22
AT_READS: Final = 23
AT_WRITES: Final = 24
N_CONFIG: Final = 25

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
COUNTS: Final = 14

# Columns of the window table.
WINDOW_LENGTH: Final = 0
WINDOW_LATENCY: Final = 1
WINDOW_BANKS: Final = 2
WINDOW_RING: Final = 3

# Outcomes of `advance`.
AT_BOUNDARY: Final = 0
COMPLETE: Final = 1
STUCK: Final = 2


@dataclass(frozen=True)
class Tables:
    """A device and a request pattern as integers for the kernel; see `build_tables`."""

    device: Device
    config: Ints
    """(N_CONFIG,)"""
    latency: Ints
    """(command, following command, relation): cycles, 0 for none. A relation is the depth of the
    smallest object that holds both banks."""
    reach: Ints
    """(command, following command): banks of the widest object in which one delays the other."""
    scope: Ints
    """(command,): banks it addresses."""
    relation: Ints
    """(bank, bank)"""
    windows: Ints
    """(window rule, 4)"""
    window_commands: Ints
    """(window rule, 2, command): whether a command fills it, whether it waits for it."""
    pattern: Ints
    """(4, period): bank, row, line, whether it is a write."""
    state_size: int

    @property
    def arguments(self) -> tuple[Ints, ...]:
        """What `advance` takes first."""
        return (
            self.config,
            self.latency,
            self.reach,
            self.scope,
            self.relation,
            self.windows,
            self.window_commands,
            self.pattern,
        )

    def start(self, first_refresh: int | None = None) -> Ints:
        """A state before tick 1: everything closed, nothing waiting."""
        config = self.config
        state = np.zeros(self.state_size, dtype=np.int64)
        state[config[AT_READY] : config[AT_OPEN]] = NEVER
        state[config[AT_OPEN] : config[AT_BUSY]] = -1
        state[config[AT_RINGS] : config[AT_ACTIVE]] = NEVER
        for at, size in ((AT_READS, READ_QUEUE), (AT_WRITES, WRITE_QUEUE)):
            first = config[at]
            state[first : first + config[size]] = np.arange(config[size])
        interval = int(config[REFRESH_INTERVAL])
        state[NEXT_REFRESH] = (first_refresh or interval) if interval else FAR
        return state

    def charge_precharge(self, state: Ints, log: Ints) -> None:
        """See `Controller.charge_precharge`."""
        depth = self.device.refresh_depth
        for index in range(self.device.n_objects(depth)):
            bank = self.device.banks_in(depth, index)[0]
            send(*self.arguments[:-1], state, self.config[PRE_ALL], bank, -1, -1, -index, log)


def build_tables(dram: DramSpec, pattern: Ints, period: tuple[int, int] = (0, 0)) -> Tables:
    """Integers for the kernel; `pattern` repeats, each time `period` = (rows, lines) further."""
    device = resolve(dram)
    names = [command.name for command in device.commands]
    paths = np.array(device.paths, dtype=np.int64)
    relation = (paths[:, None, :] == paths[None, :, :]).sum(axis=2) - 1
    windows, window_commands, ring_size = _window_tables(device, names)
    config = _config(device, names, pattern.shape[1], period, ring_size)
    state_size = int(config[AT_WRITES] + 6 * config[WRITE_QUEUE])
    latency = _latencies(device, names)
    per_command = [device.n_banks // device.n_objects(command.depth) for command in device.commands]
    scope = np.array(per_command, dtype=np.int64)
    return Tables(
        device, config, latency, _reach(device, latency), scope, relation, windows,
        window_commands, np.ascontiguousarray(pattern), state_size,
    )  # fmt: skip


def _latencies(device: Device, names: list[str]) -> Ints:
    n_relations = device.bank_depth + 1
    latency = np.zeros((len(names), len(names), n_relations), dtype=np.int64)
    for rule in device.rules:
        if rule.window != 1:
            continue
        # siblings meet in the parent only; any deeper common object lies in one of the level
        last = rule.depth if rule.sibling else n_relations
        shared = slice(rule.depth - rule.sibling, last)
        for preceding in sorted(rule.preceding):
            for following in sorted(rule.following):
                cell = latency[names.index(preceding), names.index(following), shared]
                np.maximum(cell, rule.latency, out=cell)
    return latency


def _reach(device: Device, latency: Ints) -> Ints:
    """Banks of the widest object in which a command delays another; 0 if it never does."""
    n_banks = [device.n_banks // device.n_objects(depth) for depth in range(latency.shape[2])]
    reached: Ints = np.where(latency > 0, np.array(n_banks, dtype=np.int64), 0).max(axis=2)
    return reached


def _window_tables(device: Device, names: list[str]) -> tuple[Ints, Ints, int]:
    rules = [rule for rule in device.rules if rule.window > 1]
    table = np.zeros((len(rules), 4), dtype=np.int64)
    commands = np.zeros((len(rules), 2, len(names)), dtype=np.int64)
    ring = 0
    for number, rule in enumerate(rules):
        n_objects = device.n_objects(rule.depth)
        table[number] = rule.window, rule.latency, device.n_banks // n_objects, ring
        ring += rule.window * n_objects
        for side, members in enumerate((rule.preceding, rule.following)):
            commands[number, side, [names.index(name) for name in sorted(members)]] = 1
    return table, commands, ring


def _config(
    device: Device, names: list[str], n_pattern: int, period: tuple[int, int], ring_size: int
) -> Ints:
    config = np.zeros(N_CONFIG, dtype=np.int64)
    n_banks = device.n_banks
    at_ready = COUNTS + len(names)
    at_open = at_ready + n_banks * len(names)
    at_rings = at_open + 2 * n_banks
    at_active = at_rings + ring_size
    at_reads = at_active + 5 * n_banks
    values = {
        N_BANKS: n_banks,
        N_COMMANDS: len(names),
        ACT: names.index(device.named("activate")),
        PRE: names.index(device.named("precharge", device.bank_depth)),
        RD: names.index(device.named("read")),
        WR: names.index(device.named("write")),
        REF: names.index(device.named("refresh")),
        PRE_ALL: names.index(device.named("precharge", device.refresh_depth)),
        READ_LATENCY: device.read_latency,
        REFRESH_INTERVAL: device.refresh_interval,
        N_SCOPES: device.n_objects(device.refresh_depth),
        READ_QUEUE: device.read_queue,
        WRITE_QUEUE: device.write_queue,
        WRITE_HIGH: device.write_high,
        WRITE_LOW: device.write_low,
        PERIOD: n_pattern,
        PERIOD_ROWS: period[0],
        PERIOD_LINES: period[1],
        AT_READY: at_ready,
        AT_OPEN: at_open,
        AT_BUSY: at_open + n_banks,
        AT_RINGS: at_rings,
        AT_ACTIVE: at_active,
        AT_READS: at_reads,
        AT_WRITES: at_reads + 6 * device.read_queue,
    }
    for place, value in values.items():
        config[place] = value
    return config


def _compiled(function: Any) -> Any:
    return njit(cache=True)(function)


def _inlined(function: Any) -> Any:
    """Copied into its caller: handing over the arrays would cost more than most of these do."""
    return njit(inline="always")(function)


@_compiled
def send(  # type: ignore[no-untyped-def]
    config, latency, reach, scope, relation, windows, window_commands,
    state, command, bank, row, number, tick, log,
):  # fmt: skip
    """Issues a command: starts the waits it causes, opens or closes rows, counts and logs.

    A command to more than one bank is addressed by, and waits at, the first of them.
    """
    n_banks, n_commands = config[N_BANKS], config[N_COMMANDS]
    ready, open_row = config[AT_READY], config[AT_OPEN]
    for following in range(n_commands):
        n_reached = reach[command, following]
        if n_reached == 0:
            continue
        start = bank // n_reached * n_reached
        for other in range(start, start + n_reached, scope[following]):
            wait = latency[command, following, relation[bank, other]]
            place = ready + following * n_banks + other
            if wait > 0 and tick + wait > state[place]:
                state[place] = tick + wait
    for window in range(windows.shape[0]):
        if window_commands[window, 0, command] == 0:
            continue
        length, n_reached = windows[window, WINDOW_LENGTH], windows[window, WINDOW_BANKS]
        own = bank // n_reached
        ring = config[AT_RINGS] + windows[window, WINDOW_RING] + own * length
        for place in range(ring, ring + length - 1):
            state[place] = state[place + 1]
        state[ring + length - 1] = tick
        until = state[ring] + windows[window, WINDOW_LATENCY]
        for following in range(n_commands):
            if window_commands[window, 1, following] == 0:
                continue
            start = own * n_reached
            for other in range(start, start + n_reached, scope[following]):
                place = ready + following * n_banks + other
                if until > state[place]:
                    state[place] = until
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


@_inlined
def _offer(config, pattern, state, until, total, done, first):  # type: ignore[no-untyped-def]
    """Takes requests in order until one is refused, or `until` or `total` are taken.

    A queue is six rows: order (a permutation of its slots, those in use first), number, bank, row,
    arrival, whether it was classified.
    """
    period = config[PERIOD]
    at_writes, write_size = config[AT_WRITES], config[WRITE_QUEUE]
    while state[OFFERED] < total and state[OFFERED] != until:
        number = state[OFFERED]
        turn = number // period
        place = number - turn * period
        is_write = pattern[3, place]
        forwarded = False
        if state[N_WRITES] > 0:
            line = pattern[2, place] + turn * config[PERIOD_LINES]
            for position in range(state[N_WRITES]):
                other = state[at_writes + write_size + state[at_writes + position]]
                its_turn = other // period
                its_line = pattern[2, other - its_turn * period] + its_turn * config[PERIOD_LINES]
                if its_line == line:
                    forwarded = True
                    break
        if forwarded:
            done[number - first] = state[TICK] + 1
            state[LAST_DONE] = max(state[LAST_DONE], state[TICK] + 1)
            state[OFFERED] = number + 1
            continue
        waiting = N_WRITES if is_write else N_READS
        size = write_size if is_write else config[READ_QUEUE]
        at = at_writes if is_write else config[AT_READS]
        n_waiting = state[waiting]
        if n_waiting >= size:
            break
        slot = state[at + n_waiting]
        state[at + size + slot] = number
        state[at + 2 * size + slot] = pattern[0, place]
        state[at + 3 * size + slot] = pattern[1, place] + turn * config[PERIOD_ROWS]
        state[at + 4 * size + slot] = state[TICK]
        state[at + 5 * size + slot] = 0
        state[waiting] = n_waiting + 1
        state[OFFERED] = number + 1


@_inlined
def _best_active(config, state, tick):  # type: ignore[no-untyped-def]
    """Of the requests whose row is open: the place of the next to be sent, and the tick.

    The earliest legal one, of several in one tick the first arrived. The active queue is five rows:
    number, bank, row, arrival, column command.
    """
    n_banks, at, ready = config[N_BANKS], config[AT_ACTIVE], config[AT_READY]
    best, when = -1, FAR
    for place in range(at, at + state[N_ACTIVE]):
        earliest = state[ready + state[place + 4 * n_banks] * n_banks + state[place + n_banks]]
        earliest = max(earliest, tick)
        if earliest < when or (
            earliest == when and state[place + 3 * n_banks] < state[best + 3 * n_banks]
        ):
            best, when = place, earliest
    return best, when


@_compiled
def _next_refresh_command(config, state, tick):  # type: ignore[no-untyped-def]
    """What the head of the waiting refreshes needs, and the tick in which it may be sent."""
    n_banks = config[N_BANKS]
    per_scope = n_banks // config[N_SCOPES]
    bank = state[PENDING_HEAD] * per_scope
    command = config[REF]
    for other in range(bank, bank + per_scope):
        if state[config[AT_BUSY] + other] > 0:
            return -1, FAR
        if state[config[AT_OPEN] + other] >= 0:
            command = config[PRE_ALL]
    return command, max(tick, state[config[AT_READY] + command * n_banks + bank])


@_inlined
def _set_mode(config, state):  # type: ignore[no-untyped-def]
    """Reads unless there are none or too many writes wait."""
    if state[WRITE_MODE] == 0:
        if state[N_WRITES] > config[WRITE_HIGH] or state[N_READS] == 0:
            state[WRITE_MODE] = 1
    elif state[N_WRITES] < config[WRITE_LOW] and state[N_READS] > 0:
        state[WRITE_MODE] = 0


@_inlined
def _best_waiting(config, state, at, size, n_waiting, column, tick):  # type: ignore[no-untyped-def]
    """Of a queue: the position of the next request to be served, its command and the tick.

    The earliest legal one, of several in one tick the first arrived.
    """
    n_banks, ready = config[N_BANKS], config[AT_READY]
    open_row, busy = config[AT_OPEN], config[AT_BUSY]
    activate, precharge = config[ACT], config[PRE]
    best, best_command, when = -1, -1, FAR
    for position in range(n_waiting):
        slot = at + state[at + position]
        bank = state[slot + 2 * size]
        row = state[open_row + bank]
        if row == state[slot + 3 * size]:
            command = column
        elif row < 0:
            command = activate
        elif state[busy + bank] > 0:
            continue
        else:
            command = precharge
        earliest = state[ready + command * n_banks + bank]
        if earliest <= tick:
            return position, command, tick
        if earliest < when:
            best, best_command, when = position, command, earliest
    return best, best_command, when


@_inlined
def _leave_active(config, state, place):  # type: ignore[no-untyped-def]
    """Takes a request out of the active queue."""
    n_banks, at = config[N_BANKS], config[AT_ACTIVE]
    state[config[AT_BUSY] + state[place + n_banks]] = 0
    state[N_ACTIVE] -= 1
    for field in range(5):
        for other in range(place + field * n_banks, at + field * n_banks + state[N_ACTIVE]):
            state[other] = state[other + 1]


@_inlined
def _leave_queue(config, state, waiting, at, position):  # type: ignore[no-untyped-def]
    """Takes a request out of a queue; its slot becomes free."""
    last = state[waiting] - 1
    slot = state[at + position]
    for place in range(at + position, at + last):
        state[place] = state[place + 1]
    state[at + last] = slot
    state[waiting] = last


@_inlined
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


@_inlined
def _enter_active(config, state, slot, size, column):  # type: ignore[no-untyped-def]
    """Puts the request of a queue's slot at the end of the active queue."""
    n_banks = config[N_BANKS]
    place = config[AT_ACTIVE] + state[N_ACTIVE]
    for field in range(4):
        state[place + field * n_banks] = state[slot + (field + 1) * size]
    state[place + 4 * n_banks] = column
    state[config[AT_BUSY] + state[slot + 2 * size]] = 1
    state[N_ACTIVE] += 1


@_compiled
def advance(  # type: ignore[no-untyped-def]
    config, latency, reach, scope, relation, windows, window_commands, pattern,
    state, until, total, done, first, log,
):  # fmt: skip
    """Runs until `until` requests were taken (-1: no stop) or all of `total` are complete.

    ``done[number - first]`` becomes the tick in which a request was complete. `log` is (n, 5):
    tick, command, bank, row, request; it may be empty.
    """
    n_banks = config[N_BANKS]
    per_scope = n_banks // config[N_SCOPES]
    while True:
        _offer(config, pattern, state, until, total, done, first)
        if state[OFFERED] == until:
            return AT_BOUNDARY
        n_outstanding = state[N_ACTIVE] + state[N_READS] + state[N_WRITES]
        all_sent = state[OFFERED] == total and n_outstanding == 0
        if all_sent and state[TICK] >= state[LAST_DONE]:
            return COMPLETE
        tick = state[TICK] + 1
        if tick == state[NEXT_REFRESH]:
            state[PENDING] += config[N_SCOPES]
            state[NEXT_REFRESH] += config[REFRESH_INTERVAL]
        # (a) the active queue, unless something else may be sent before
        place, when = _best_active(config, state, tick)
        position, refresh = -1, -1
        if when > tick and state[PENDING] > 0:
            # (b) the head of the refreshes
            command, earliest = _next_refresh_command(config, state, tick)
            if earliest < when:
                refresh, when = command, earliest
        elif when > tick:
            # (c) the queue of the mode
            _set_mode(config, state)
            if state[WRITE_MODE] == 1:
                waiting, at, size = N_WRITES, config[AT_WRITES], config[WRITE_QUEUE]
                column = config[WR]
            else:
                waiting, at, size = N_READS, config[AT_READS], config[READ_QUEUE]
                column = config[RD]
            chosen, command, earliest = _best_waiting(
                config, state, at, size, state[waiting], column, tick
            )
            if earliest < when:
                position, when = chosen, earliest
        if all_sent and min(when, state[NEXT_REFRESH]) > state[LAST_DONE]:
            state[TICK] = state[LAST_DONE]
            return COMPLETE
        if when >= state[NEXT_REFRESH]:
            # a refresh becomes due before: look again then
            state[TICK] = state[NEXT_REFRESH] - 1
            continue
        if when == FAR:
            return STUCK
        state[TICK] = when
        if position >= 0:
            slot = at + state[at + position]
            number, bank, row = state[slot + size], state[slot + 2 * size], state[slot + 3 * size]
        elif refresh >= 0:
            number, bank, row = -1, state[PENDING_HEAD] * per_scope, -1
        else:
            number, bank, row = state[place], state[place + n_banks], state[place + 2 * n_banks]
            command = state[place + 4 * n_banks]
        send(
            config, latency, reach, scope, relation, windows, window_commands,
            state, command, bank, row, number, when, log,
        )  # fmt: skip
        if position >= 0:
            _classify(config, state, slot + 5 * size, command)
            if command == config[ACT]:
                _enter_active(config, state, slot, size, column)
            if command != config[PRE]:
                _leave_queue(config, state, waiting, at, position)
        elif refresh < 0:
            _leave_active(config, state, place)
        elif command == config[REF]:
            state[PENDING] -= 1
            state[PENDING_HEAD] = (state[PENDING_HEAD] + 1) % config[N_SCOPES]
        if command == config[RD] or command == config[WR]:
            finish = when + (config[READ_LATENCY] if command == config[RD] else 0)
            done[number - first] = finish
            state[LAST_DONE] = max(state[LAST_DONE], finish)


@_compiled
def first_unserved(config, state):  # type: ignore[no-untyped-def]
    """The lowest number of a request that is taken but not served, or that is to be taken next."""
    first = state[OFFERED]
    for position in range(state[N_ACTIVE]):
        first = min(first, state[config[AT_ACTIVE] + position])
    if state[N_READS] > 0:
        at = config[AT_READS]
        first = min(first, state[at + config[READ_QUEUE] + state[at]])
    if state[N_WRITES] > 0:
        at = config[AT_WRITES]
        first = min(first, state[at + config[WRITE_QUEUE] + state[at]])
    return first


@_compiled
def canonical(config, windows, state, out):  # type: ignore[no-untyped-def]
    """Writes the state as seen from now: two states with equal futures look the same.

    Time counts from the current tick, rows and request numbers from the turn of the pattern before
    the oldest request; waits that are over, counters and the distance to the next refresh are
    dropped.
    """
    n_banks, period = config[N_BANKS], config[PERIOD]
    tick = state[TICK]
    turns = first_unserved(config, state) // period - 1
    rows, numbers = turns * config[PERIOD_ROWS], turns * period
    out[:] = 0
    out[OFFERED] = state[OFFERED] - numbers
    out[WRITE_MODE] = state[WRITE_MODE]
    out[N_ACTIVE] = state[N_ACTIVE]
    out[N_READS] = state[N_READS]
    out[N_WRITES] = state[N_WRITES]
    out[PENDING_HEAD] = state[PENDING_HEAD]
    out[PENDING] = state[PENDING]
    for place in range(config[AT_READY], config[AT_OPEN]):
        out[place] = max(state[place] - tick, 1)
    for bank in range(n_banks):
        row = state[config[AT_OPEN] + bank]
        if row >= 0:
            # rows before that turn cannot be hit again and are all alike
            row = max(row - rows, 0)
        out[config[AT_OPEN] + bank] = row
        out[config[AT_BUSY] + bank] = state[config[AT_BUSY] + bank]
    for window in range(windows.shape[0]):
        end = config[AT_ACTIVE] - config[AT_RINGS]
        if window + 1 < windows.shape[0]:
            end = windows[window + 1, WINDOW_RING]
        for place in range(windows[window, WINDOW_RING], end):
            at = config[AT_RINGS] + place
            out[at] = max(state[at] - tick, -windows[window, WINDOW_LATENCY])
    at, size = config[AT_ACTIVE], n_banks
    for position in range(state[N_ACTIVE]):
        out[at + position] = state[at + position] - numbers
        out[at + size + position] = state[at + size + position]
        out[at + 2 * size + position] = state[at + 2 * size + position] - rows
        out[at + 3 * size + position] = state[at + 3 * size + position] - tick
        out[at + 4 * size + position] = state[at + 4 * size + position]
    for at, size, waiting in (
        (config[AT_READS], config[READ_QUEUE], state[N_READS]),
        (config[AT_WRITES], config[WRITE_QUEUE], state[N_WRITES]),
    ):
        for position in range(size):
            out[at + position] = position
        for position in range(waiting):
            slot = state[at + position]
            out[at + size + position] = state[at + size + slot] - numbers
            out[at + 2 * size + position] = state[at + 2 * size + slot]
            out[at + 3 * size + position] = state[at + 3 * size + slot] - rows
            out[at + 4 * size + position] = state[at + 4 * size + slot] - tick
            out[at + 5 * size + position] = state[at + 5 * size + slot]
    _rank_arrivals(config, out)


@_compiled
def _rank_arrivals(config, out):  # type: ignore[no-untyped-def]
    """Replaces arrival times by their order, ..., -2, -1; those of this very tick stay 0.

    Only the order of arrivals matters, and requests are numbered in the order of arrival.
    """
    n_banks = config[N_BANKS]
    level, below = 0, 0
    while True:
        latest = NEVER
        for at, waiting in (
            (config[AT_ACTIVE] + 3 * n_banks, out[N_ACTIVE]),
            (config[AT_READS] + 4 * config[READ_QUEUE], out[N_READS]),
            (config[AT_WRITES] + 4 * config[WRITE_QUEUE], out[N_WRITES]),
        ):
            for position in range(waiting):
                arrival = out[at + position]
                if arrival < below and arrival > latest:
                    latest = arrival
        if latest == NEVER:
            return
        level -= 1
        for at, waiting in (
            (config[AT_ACTIVE] + 3 * n_banks, out[N_ACTIVE]),
            (config[AT_READS] + 4 * config[READ_QUEUE], out[N_READS]),
            (config[AT_WRITES] + 4 * config[WRITE_QUEUE], out[N_WRITES]),
        ):
            for position in range(waiting):
                if out[at + position] == latest:
                    out[at + position] = level
        below = level


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
    outcome = advance(*tables.arguments, state, -1, n_requests, done, 0, log)
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
