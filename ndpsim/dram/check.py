"""Whether a log of commands obeys a standard, judged from its constraint table alone.

Shares no code with the controllers: a rule is read as "in the last `latency` ticks before the
following command, fewer than `window` preceding ones".
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from math import prod

from ndpsim.dram.reference import Issued
from ndpsim.dram.spec import CommandSpec, ConstraintSpec, DramSpec, Latency


def check_log(dram: DramSpec, log: Sequence[Issued]) -> tuple[str, ...]:
    """Every violation in a log, one line each; empty for a legal one."""
    ordered = sorted(log, key=lambda issued: issued.tick)
    checks = [_buses(dram, ordered), _rows(dram, ordered), _halves(dram, ordered)]
    checks += [_data_clocks(dram, ordered)]
    checks += [_rule(dram, rule, ordered) for rule in dram.standard.constraints]
    return tuple(line for check in checks for line in check)


def _commands(dram: DramSpec) -> dict[str, CommandSpec]:
    return {command.name: command for command in dram.standard.commands}


def _sum(dram: DramSpec, latency: Latency) -> int:
    ticks = dram.ticks()
    return sum(factor * ticks[symbol] for symbol, factor in latency.items())


def _buses(dram: DramSpec, log: Sequence[Issued]) -> Iterator[str]:
    """One command at a time on each bus; some at rising edges, the odd ticks, only."""
    commands = _commands(dram)
    last: dict[str, Issued] = {}
    for issued in log:
        command = commands[issued.command]
        before = last.get(command.bus)
        if before is not None and issued.tick < before.tick + commands[before.command].ticks:
            yield (
                f"tick {issued.tick}: {issued.command} while the {command.bus} bus carries "
                f"{before.command} of tick {before.tick}"
            )
        if command.rising and issued.tick % 2 == 0:
            yield f"tick {issued.tick}: {issued.command} at a falling edge"
        last[command.bus] = issued


def _halves(dram: DramSpec, log: Sequence[Issued]) -> Iterator[str]:
    """An activation in two commands: nothing between them but what leaves the bank alone."""
    if dram.standard.activate_within is None:
        return
    within = _sum(dram, dram.standard.activate_within)
    commands = _commands(dram)
    first: Issued | None = None
    for issued in log:
        action = commands[issued.command].action
        where = f"tick {issued.tick}: {issued.command} to bank {issued.bank}"
        if action == "activate-again":
            if first is None or first.bank != issued.bank:
                yield f"{where}: there was no first half"
            elif issued.tick > first.tick + within:
                yield f"{where}: more than {within} ticks after its first half"
            first = None
        elif first is not None and (
            action == "activate"
            or (issued.bank == first.bank and action not in ("sync-read", "sync-write"))
        ):
            yield f"{where}: bank {first.bank} is half open"
        if action == "activate":
            first = issued


def _data_clocks(dram: DramSpec, log: Sequence[Issued]) -> Iterator[str]:
    """A read or write needs a running data clock, or the command that starts it just before."""
    clock = dram.standard.data_clock
    if clock is None:
        return
    commands = _commands(dram)
    runs = {"read": _sum(dram, clock.after_read), "write": _sum(dram, clock.after_write)}
    until: dict[int, int] = {}
    started: dict[int, str] = {}
    for issued in log:
        action = commands[issued.command].action
        own = _object(dram, clock.level, issued.bank)
        if action in ("sync-read", "sync-write"):
            started[own] = action.removeprefix("sync-")
        elif action in runs:
            if issued.tick >= until.get(own, 0) and started.get(own) != action:
                yield f"tick {issued.tick}: {issued.command} without a data clock"
            started.pop(own, None)
            until[own] = max(until.get(own, 0), issued.tick + runs[action])


def _object(dram: DramSpec, level: str, bank: int) -> int:
    """The number of the object of a level that holds a bank, counted through the channel."""
    levels = dram.standard.levels
    inside = levels[levels.index(level) + 1 : levels.index("row")]
    return bank // prod(dram.organisation.counts[name] for name in inside)


def _rows(dram: DramSpec, log: Sequence[Issued]) -> Iterator[str]:
    """Rows are opened before they are read, closed before another is opened or refreshed."""
    commands = _commands(dram)
    open_rows: dict[int, int] = {}
    for issued in log:
        command = commands[issued.command]
        own = _object(dram, command.scope, issued.bank)
        inside = [bank for bank in open_rows if _object(dram, command.scope, bank) == own]
        where = f"tick {issued.tick}: {issued.command} to bank {issued.bank}"
        if command.action in ("read", "write"):
            if open_rows.get(issued.bank) != issued.row:
                yield f"{where}: row {issued.row} is not open"
        elif command.action == "precharge":
            for bank in inside:
                del open_rows[bank]
        elif inside and command.action in ("activate", "refresh"):
            yield f"{where}: row {open_rows[inside[0]]} is still open"
        if command.action == "activate":
            open_rows[issued.bank] = issued.row


def _rule(dram: DramSpec, rule: ConstraintSpec, log: Sequence[Issued]) -> Iterator[str]:
    length = {command.name: command.ticks for command in dram.standard.commands}
    nominal = _sum(dram, rule.latency)
    n_beside = 1 if rule.level == "channel" else dram.organisation.counts[rule.level]
    started: dict[int, list[int]] = {}
    """Last ticks of preceding commands, by object."""
    for issued in log:
        own = _object(dram, rule.level, issued.bank)
        watched = [own]
        if rule.sibling:
            first = own - own % n_beside
            watched = [index for index in range(first, first + n_beside) if index != own]
        if issued.command in rule.following:
            for index in watched:
                ticks = started.get(index, [])
                end = issued.tick + length[issued.command] - 1
                recent = len(ticks) - bisect_left(ticks, end - nominal + 1)
                if recent >= rule.window:
                    yield (
                        f"tick {issued.tick}: {issued.command} to bank {issued.bank} within "
                        f"{nominal} ticks of {rule.window} x {'/'.join(rule.preceding)} "
                        f"({rule.level}, {' + '.join(rule.latency)})"
                    )
        if issued.command in rule.preceding:
            insort(started.setdefault(own, []), issued.tick + length[issued.command] - 1)
