import numpy as np
import pytest

from ndpsim.dram import DramSpec, kernel, resolve
from ndpsim.dram.device import Device, Rule
from ndpsim.dram.reference import Timing
from ndpsim.spec import load_preset, preset_names
from tests.dram.parts import ddr4

# nCS long enough that no wait of the table is zero
TWO_RANKS = ddr4(counts={"rank": 2}, timing={"nCS": 9})


def _probes() -> list[tuple[int, str, str]]:
    """Every (constraint, preceding, following) of the table."""
    return [
        (number, preceding, following)
        for number, rule in enumerate(TWO_RANKS.standard.constraints)
        for preceding in rule.preceding
        for following in rule.following
    ]


def _alone(device: Device, number: int) -> Device:
    """The device with one rule only, so that no other hides it."""
    return Device(**(vars(device) | {"rules": (device.rules[number],)}))


def _banks(device: Device, rule: Rule) -> tuple[int, int, int]:
    """Where to send preceding and following, and a bank that the rule does not reach.

    Both lie as far apart as the rule's level lets them.
    """
    size = device.n_banks // device.n_objects(rule.depth)
    if rule.sibling:
        return 0, size, 0
    return 0, size - 1, size


def _name(probe: tuple[int, str, str]) -> str:
    rule = TWO_RANKS.standard.constraints[probe[0]]
    return f"{rule.level}-{probe[1]}-{probe[2]}-{'+'.join(rule.latency)}"


@pytest.mark.parametrize("probe", _probes(), ids=_name)
def test_following_is_blocked_one_tick_early_and_ready_in_time(probe):
    number, preceding, following = probe
    device = resolve(TWO_RANKS)
    rule = device.rules[number]
    assert rule.latency > 0
    first, second, free = _banks(device, rule)
    timing = Timing(_alone(device, number))
    for tick in range(100, 100 + rule.window):
        assert timing.ready(following, second, tick)
        timing.issue(preceding, first, tick)
    assert not timing.ready(following, second, 100 + rule.latency - 1)
    assert timing.ready(following, second, 100 + rule.latency)
    if free < device.n_banks:
        assert timing.ready(following, free, 101)


@pytest.mark.parametrize("probe", _probes(), ids=_name)
def test_kernel_folds_every_constraint_tightly(probe):
    number, preceding, following = probe
    rule = TWO_RANKS.standard.constraints[number]
    alone = TWO_RANKS.standard.model_copy(update={"constraints": (rule,)})
    part = TWO_RANKS.model_copy(update={"standard": alone})
    tables = kernel.build_tables(part, np.zeros((4, 1), dtype=np.int64))
    device = tables.device
    first, second, free = _banks(device, device.rules[0])
    names = [command.name for command in device.commands]
    state = tables.start()
    for tick in range(100, 100 + rule.window):
        kernel.send(
            *tables.arguments[:-1], state, names.index(preceding), first, 0, 0, tick, kernel.NO_LOG
        )
    ready = state[tables.config[kernel.AT_READY] :][names.index(following) * device.n_banks :]
    second -= second % int(tables.scope[names.index(following)])
    assert ready[second] == 100 + device.rules[0].latency
    if free < device.n_banks:
        assert ready[free] < 100


@pytest.mark.parametrize("name", preset_names("dram"))
def test_every_part_states_all_its_timings(name):
    part = load_preset("dram", name, DramSpec)
    assert part.standard.symbols() == set(part.cycles())
    cycles = part.cycles()
    assert cycles["nRC"] >= cycles["nRAS"] + cycles["nRP"]


def test_shortening_any_symbol_changes_the_table():
    """Each timing symbol is used: no number of a part is without effect."""
    base = resolve(TWO_RANKS)
    for symbol, value in TWO_RANKS.cycles().items():
        other = resolve(ddr4(counts={"rank": 2}, timing={"nCS": 9, symbol: value + 1}))
        assert (other.rules, other.burst, other.read_latency, other.refresh_interval) != (
            base.rules,
            base.burst,
            base.read_latency,
            base.refresh_interval,
        ), symbol
