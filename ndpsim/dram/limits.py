"""What limited a run: the chain of waits that ends in its last data.

Each command went out in its tick because a rule held it back until then, because its bus was busy,
or because the controller came to it only then. Followed back from the last read or write, these
causes cover the whole run; their shares say what to change.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ndpsim.dram.device import Device, Rule, resolve
from ndpsim.dram.reference import Issued
from ndpsim.dram.spec import ConstraintSpec, DramSpec

ORDER = "the order of requests in the queue"
BUS = "the command bus"
DATA_BUS = "the data bus"


@dataclass(frozen=True, slots=True)
class Limit:
    """One cause and its share of the time."""

    what: str
    frac: float


@dataclass(frozen=True, slots=True)
class _Cause:
    before: int
    """Index of the command that caused the wait; -1 for the start of the run."""
    what: str


def limits(dram: DramSpec, log: Sequence[Issued]) -> tuple[Limit, ...]:
    """Causes of a run's length by their share, the greatest first.

    `log` holds all commands of the run from its start, or of its first part.
    """
    device = resolve(dram)
    columns = [c.name for c in device.commands if c.action in ("read", "write")]
    causes = list(_causes(dram, device, log))
    last = max((i for i, issued in enumerate(log) if issued.command in columns), default=-1)
    spent: dict[str, int] = {}
    end = log[last].tick if last >= 0 else 0
    place = last
    while place >= 0:
        cause = causes[place]
        before = log[cause.before].tick if cause.before >= 0 else min(log[0].tick, 0)
        spent[cause.what] = spent.get(cause.what, 0) + log[place].tick - before
        place = cause.before
    total = end - min(log[0].tick, 0) if log else 0
    shares = sorted(spent.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Limit(what, ticks / total) for what, ticks in shares if ticks > 0)


def _causes(dram: DramSpec, device: Device, log: Sequence[Issued]) -> Iterator[_Cause]:
    """Why each command went out no earlier."""
    words = _words(dram, device)
    of = {command.name: command for command in device.commands}
    issued_at: dict[tuple[int, int], deque[int]] = {}
    on_bus: dict[int, int] = {}
    for index, issued in enumerate(log):
        command = of[issued.command]
        yield _cause(device, log, index, issued_at, on_bus, words)
        for number, rule in enumerate(device.rules):
            if issued.command in rule.preceding:
                key = number, device.paths[issued.bank][rule.depth]
                issued_at.setdefault(key, deque(maxlen=rule.window)).append(index)
        on_bus[command.bus] = index


def _cause(
    device: Device,
    log: Sequence[Issued],
    index: int,
    issued_at: dict[tuple[int, int], deque[int]],
    on_bus: dict[int, int],
    words: Sequence[str],
) -> _Cause:
    issued = log[index]
    command = next(c for c in device.commands if c.name == issued.command)
    # a command of the rising edge may have waited one tick for it
    ticks = (issued.tick, issued.tick - 1) if command.rising else (issued.tick,)
    found: list[tuple[bool, int, int]] = []
    for number, rule in enumerate(device.rules):
        if issued.command not in rule.following:
            continue
        for own in _watched(device, rule, issued.bank):
            before = issued_at.get((number, own))
            if (
                before is not None
                and len(before) == rule.window
                and log[before[0]].tick + rule.latency in ticks
            ):
                found.append((not words[number].startswith(DATA_BUS), before[0], number))
    if found:
        # of several at once: a full data bus, then the longest wait
        _, cause, number = min(found)
        return _Cause(cause, words[number])
    last = on_bus.get(command.bus)
    if last is not None:
        length = next(c.ticks for c in device.commands if c.name == log[last].command)
        if length > 1 and log[last].tick + length in ticks:
            return _Cause(last, BUS)
    return _Cause(index - 1, ORDER)


def _watched(device: Device, rule: Rule, bank: int) -> Iterator[int]:
    own = device.paths[bank][rule.depth]
    if not rule.sibling:
        yield own
        return
    n_beside = device.counts[rule.depth]
    first = own // n_beside * n_beside
    yield from (index for index in range(first, first + n_beside) if index != own)


def _words(dram: DramSpec, device: Device) -> list[str]:
    """Each rule of the device in words."""
    actions = {command.name: command.action for command in device.commands}
    constraints = dram.standard.constraints
    return [_phrase(device, rule, constraints[rule.constraint], actions) for rule in device.rules]


def _phrase(device: Device, rule: Rule, constraint: ConstraintSpec, actions: dict[str, str]) -> str:
    before, after = ("/".join(sorted(names)) for names in (rule.preceding, rule.following))
    symbols = " + ".join(
        symbol if factor == 1 else f"{factor} {symbol}"
        for symbol, factor in constraint.latency.items()
    ).replace("+ -1 ", "- ")
    kinds = {actions[name] for name in rule.preceding | rule.following}
    where = "another" if rule.sibling else "the same"
    level = constraint.level
    if len(kinds) == 1 and kinds <= {"read", "write"} and rule.latency <= device.burst:
        return f"{DATA_BUS}: {symbols}"
    if "refresh" in {actions[name] for name in rule.preceding}:
        return f"refresh: {symbols}"
    if rule.window > 1:
        return f"{symbols}: {rule.window} {before} per {level}"
    return f"{symbols}: {after} after {before} to {where} {level}"
