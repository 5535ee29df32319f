"""Where compute sits decides bandwidth; its multipliers decide when batches stop being free."""

import pytest

from ndpsim.dram import peak_bytes_per_s
from ndpsim.memo import Memo
from ndpsim.ndp import ExpertSlice, NdpSpec, execute, flop_per_s, memory_bytes_per_s
from ndpsim.ndp.unit import lane
from ndpsim.spec import load_preset, preset_names
from ndpsim.workload.operators import Format

FP16 = Format("fp16", 16)
NAMES = preset_names("ndp")
HBM3 = ("hbm3-logic-die", "hbm3-bankgroup-pim", "hbm3-bank-pim")


@pytest.fixture(scope="module")
def units() -> dict[str, NdpSpec]:
    return {name: load_preset("ndp", name, NdpSpec) for name in NAMES}


def took(memo: Memo, unit: NdpSpec, n_tokens: int):
    return memo(execute, unit, (ExpertSlice(n_tokens, 768, 2048, 3, FP16),), 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_turns_compute_bound_at_its_balance_point(name, units, memo) -> None:
    """FLOP/s over bytes/s is the number of tokens per 2-byte weight that memory feeds for free."""
    unit = units[name]
    tokens = flop_per_s(unit, FP16) / memory_bytes_per_s(unit)
    one, below, above = (took(memo, unit, max(1, int(tokens * f))) for f in (0, 0.9, 4))
    assert below.duration_ps <= 1.08 * one.duration_ps
    compute_s = above.flop / flop_per_s(unit, FP16)
    assert above.duration_ps * 1e-12 == pytest.approx(compute_s, rel=0.12)
    assert memory_bytes_per_s(unit) * one.duration_ps * 1e-12 >= one.n_bytes


def test_levels_of_one_stack_see_1_4_and_9_times_its_bandwidth(units) -> None:
    """AttAcc: 9 times at the banks within the power limit; Duplex: 4 times on the logic die."""
    die, bankgroup, bank = (memory_bytes_per_s(units[name]) for name in HBM3)
    assert die == 819_200_000_000
    assert bankgroup == 4 * die
    assert bank == 9 * die
    unlimited = units["hbm3-bank-pim"].model_copy(update={"active_lanes": None})
    assert memory_bytes_per_s(unlimited) == 16 * die


def test_a_lane_is_one_object_of_the_level_and_all_above(units, memo) -> None:
    unit = units["hbm3-bankgroup-pim"]
    counts = lane(memo, unit).organisation.counts
    assert {k: counts[k] for k in ("pseudochannel", "sid", "bankgroup", "bank")} == {
        "pseudochannel": 1,
        "sid": 1,
        "bankgroup": 1,
        "bank": 4,
    }
    assert unit.lanes == 16 * 2 * 2 * 4
    assert peak_bytes_per_s(lane(memo, unit)) == 12_800_000_000


def test_hbm_pim_computes_what_its_paper_says(units) -> None:
    """1.2 TFLOPS and 1.23 TB/s at 2.4 Gb/s (Lee et al., ISCA 2021), here at 2.0 Gb/s."""
    unit = units["hbm-pim"]
    assert flop_per_s(unit, FP16) * 2.4 / 2.0 == pytest.approx(1.2e12, rel=0.03)
    assert memory_bytes_per_s(unit) * 2.4 / 2.0 == pytest.approx(1.23e12, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_refreshes_are_counted_once_for_all_banks_they_refresh(name, units, memo) -> None:
    unit = units[name]
    commands = dict(took(memo, unit, 1).commands)
    scope = next(c.scope for c in unit.dram.standard.commands if c.name == "REFab")
    assert commands["REFab"] % (unit.ranks * unit.objects(scope)) == 0
    assert commands["RD"] % unit.streams == 0


def test_sums_of_results_take_the_reduction_unit_time(units, memo) -> None:
    unit = units["monde-cxl"]
    free = unit.model_copy(update={"reduction_lanes": None})
    extra_ps = took(memo, unit, 8).duration_ps - took(memo, free, 8).duration_ps
    assert extra_ps == 2048 * 8 // 64 * 1000


def test_a_level_the_memory_lacks_is_named(units) -> None:
    fields = units["hermes-dimm"].model_dump(mode="json")
    with pytest.raises(ValueError, match=r"level 'bnak' is none of .*did you mean 'bank'"):
        NdpSpec.model_validate(fields | {"level": "bnak"})
    with pytest.raises(ValueError, match="active_lanes: 5 of 4 lanes"):
        NdpSpec.model_validate(fields | {"active_lanes": 5})
