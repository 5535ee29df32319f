import numpy as np
import pytest

from ndpsim.dram import DramSpec, Issued, check_log, kernel, resolve
from ndpsim.dram.device import Device, Rule
from ndpsim.dram.reference import Timing
from ndpsim.spec import load_preset, preset_names
from tests.dram.parts import STANDARDS, part

START = 1001
"""Tick of the first command of a probe."""


def _spread(family: str) -> DramSpec:
    """A part with two of every level and waits that are long, positive and all different."""
    name = STANDARDS[family]
    shipped = load_preset("dram", name, DramSpec)
    levels = shipped.standard.levels[1:-3]
    special = {"nCL": 91, "nRL": 91, "nCWL": 74, "nWL": 74, "nCS": 60, "nREFI": 9000}
    timing = {
        symbol: special.get(symbol, 310 + 5 * place if "RFC" in symbol else 12 + 2 * place)
        for place, symbol in enumerate(sorted(shipped.standard.symbols()))
    }
    return part(name, counts=dict.fromkeys(levels, 2) | {"bank": 2}, timing=timing)


PARTS = {family: _spread(family) for family in STANDARDS}


def _probes() -> list[tuple[str, int, str, str]]:
    """Every (family, constraint, preceding, following) of every standard."""
    return [
        (family, number, preceding, following)
        for family, spread in PARTS.items()
        for number, rule in enumerate(resolve(spread).rules)
        for preceding in sorted(rule.preceding)
        for following in sorted(rule.following)
    ]


def _name(probe: tuple[str, int, str, str]) -> str:
    family, number, preceding, following = probe
    rule = resolve(PARTS[family]).rules[number]
    return f"{family}-{number}-{preceding}-{following}-{rule.depth}-{rule.latency}"


def _alone(device: Device, number: int) -> Device:
    """The device with one rule only, so that no other hides it."""
    return Device(**(vars(device) | {"rules": (device.rules[number],)}))


def _banks(device: Device, rule: Rule) -> tuple[int, int, int]:
    """Where to send preceding and following, and a bank that the rule does not reach.

    Both lie as far apart as the rule's level lets them.
    """
    size = device.banks_per(rule.depth)
    if rule.sibling:
        return 0, size, 0
    return 0, size - 1, size


def _start(device: Device, rule: Rule, following: str) -> int:
    """A first tick after which `following` becomes ready at an edge at which it may be sent."""
    rising = next(command.rising for command in device.commands if command.name == following)
    return START + (rising and rule.latency % 2)


@pytest.mark.parametrize("probe", _probes(), ids=_name)
def test_following_is_blocked_one_tick_early_and_ready_in_time(probe):
    family, number, preceding, following = probe
    device = resolve(PARTS[family])
    rule = device.rules[number]
    first, second, free = _banks(device, rule)
    timing = Timing(_alone(device, number))
    start = _start(device, rule, following)
    for place in range(rule.window):
        assert timing.earliest(following, second) is None
        timing.issue(preceding, first, start + 2 * place)
    assert not timing.ready(following, second, start + rule.latency - 1)
    assert timing.ready(following, second, start + rule.latency)
    if free < device.n_banks:
        assert timing.earliest(following, free) is None


@pytest.mark.parametrize("probe", _probes(), ids=_name)
def test_checker_knows_the_same_tick(probe):
    """The independent checker, from the constraint table alone."""
    family, number, preceding, following = probe
    spread = PARTS[family]
    device = resolve(spread)
    rule = device.rules[number]
    first, second, _ = _banks(device, rule)
    start = _start(device, rule, following)
    before = [Issued(start + 2 * place, preceding, first, 0, 0) for place in range(rule.window)]
    level = device.objects[rule.depth]

    def complaints(tick: int) -> list[str]:
        log = [*before, Issued(tick, following, second, 0, 0)]
        mark = f"tick {tick}: {following} to bank {second} within"
        shown = f"{rule.window} x"
        return [
            line
            for line in check_log(spread, log)
            if line.startswith(mark) and shown in line and f"({level}, " in line
        ]

    late = complaints(start + rule.latency)
    assert len(complaints(start + rule.latency - 1)) > len(late)


@pytest.mark.parametrize("family", PARTS)
def test_kernel_folds_every_constraint_tightly(family):
    """What each command alone makes every other wait for, at every bank."""
    spread = PARTS[family]
    device = resolve(spread)
    tables = kernel.build_tables(spread, np.zeros((4, 1), dtype=np.int64))
    for number, preceding in enumerate(command.name for command in device.commands):
        timing, state = Timing(device), tables.start()
        depth = device.commands[number].depth
        window = max(rule.window for rule in device.rules)
        for place in range(window):
            tick = START + 2 * place
            timing.issue(preceding, 0, tick)
            kernel.send(tables.config, state, number, 0, 0, 0, tick, kernel.NO_LOG)
        ready = state[tables.config[kernel.AT_READY] : tables.config[kernel.AT_OPEN]]
        ready = ready.reshape(len(device.commands), device.n_banks)
        for following, command in enumerate(device.commands):
            step = device.banks_per(command.depth)
            for bank in range(0, device.n_banks, step):
                expected = timing.earliest(command.name, bank)
                got = int(ready[following, bank])
                assert got == (kernel.NEVER if expected is None else expected), (
                    preceding, command.name, bank, depth,
                )  # fmt: skip


@pytest.mark.parametrize("family", PARTS)
def test_probes_notice_every_symbol_that_changes(family):
    """Mutation: one more or one less of any timing moves the tick of a probe, or a latency."""
    spread = PARTS[family]
    base = _answers(spread)
    for symbol, value in spread.cycles().items():
        for other in (value - 1, value + 1):
            changed = part(
                STANDARDS[family],
                counts=dict(spread.organisation.counts),
                timing=dict(spread.cycles()) | {symbol: other},
            )
            assert _answers(changed) != base, symbol


def _answers(spread: DramSpec) -> tuple[object, ...]:
    device = resolve(spread)
    return (
        [rule.latency for rule in device.rules],
        device.read_latency, device.burst, device.refresh_interval, device.activate_within,
        device.after_read, device.after_write,
    )  # fmt: skip


NOT_LONG_ENOUGH = {"gddr6-16gb-x16-14000-1350mv-double": "tRAS 53 + tRP 27 > tRC 79"}
"""Shipped by Ramulator so."""


@pytest.mark.parametrize("name", preset_names("dram"))
def test_every_part_states_all_its_timings(name):
    shipped = load_preset("dram", name, DramSpec)
    assert shipped.standard.symbols() == set(shipped.cycles())
    cycles = shipped.cycles()
    if name not in NOT_LONG_ENOUGH:
        assert cycles["nRC"] >= cycles["nRAS"] + cycles["nRP"]
