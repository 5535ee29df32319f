"""Whether a log of commands obeys a standard, judged from its constraint table alone.

Shares no code with the controllers: a rule is read as "in the last `latency` ticks before the
following command, fewer than `window` preceding ones".
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import prod

from ndpsim.dram.reference import Issued
from ndpsim.dram.spec import CLOCK, ConstraintSpec, DramSpec


def check_log(dram: DramSpec, log: Sequence[Issued]) -> tuple[str, ...]:
    """Every violation in a log, one line each; empty for a legal one."""
    ordered = sorted(log, key=lambda issued: issued.tick)
    checks = [_bus(ordered), _rows(dram, ordered)]
    checks += [_rule(dram, rule, ordered) for rule in dram.standard.constraints]
    return tuple(line for check in checks for line in check)


def _bus(log: Sequence[Issued]) -> Iterator[str]:
    for one, other in pairwise(log):
        if one.tick == other.tick:
            yield f"tick {one.tick}: {one.command} and {other.command} in one tick"


def _object(dram: DramSpec, level: str, bank: int) -> int:
    """The number of the object of a level that holds a bank, counted through the channel."""
    levels = dram.standard.levels
    inside = levels[levels.index(level) + 1 : levels.index("row")]
    return bank // prod(dram.organisation.counts[name] for name in inside)


def _rows(dram: DramSpec, log: Sequence[Issued]) -> Iterator[str]:
    """Rows are opened before they are read, closed before another is opened or refreshed."""
    commands = {command.name: command for command in dram.standard.commands}
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
        elif inside:
            yield f"{where}: row {open_rows[inside[0]]} is still open"
        if command.action == "activate":
            open_rows[issued.bank] = issued.row


def _rule(dram: DramSpec, rule: ConstraintSpec, log: Sequence[Issued]) -> Iterator[str]:
    cycles = dram.cycles() | {CLOCK: 1}
    latency = sum(factor * cycles[symbol] for symbol, factor in rule.latency.items())
    n_beside = 1 if rule.level == "channel" else dram.organisation.counts[rule.level]
    started: dict[int, list[int]] = {}
    for issued in log:
        own = _object(dram, rule.level, issued.bank)
        watched = [own]
        if rule.sibling:
            first = own - own % n_beside
            watched = [index for index in range(first, first + n_beside) if index != own]
        if issued.command in rule.following:
            for index in watched:
                ticks = started.get(index, [])
                recent = len(ticks) - bisect_left(ticks, issued.tick - latency + 1)
                if recent >= rule.window:
                    yield (
                        f"tick {issued.tick}: {issued.command} to bank {issued.bank} within "
                        f"{latency} ticks of {rule.window} x {'/'.join(rule.preceding)} "
                        f"({rule.level}, {' + '.join(rule.latency)})"
                    )
        if issued.command in rule.preceding:
            started.setdefault(own, []).append(issued.tick)
