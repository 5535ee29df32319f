from itertools import pairwise

import pytest

from ndpsim.dram import peak_bytes_per_s
from ndpsim.dram.nearbank import near_bank_product
from ndpsim.errors import ConfigError
from tests.dram.parts import part

HBM3 = "hbm3-16gb-8hi-6400mbps"


def scale(**options: bool) -> float:
    """Weights read in the banks against what the pseudo-channel's data bus could carry."""
    dram = part(HBM3)
    run = near_bank_product(dram, 200, n_inputs=1, **options)
    return run.bytes_per_s / (peak_bytes_per_s(dram) / 2)


def test_all_banks_at_once_would_be_sixteen_times_the_bus():
    """AttAcc's figure without a power limit: every bank at tCCD_L, rows for nothing."""
    dram = part(HBM3)
    ticks = dram.ticks()
    assert 32 * ticks["nBL"] / ticks["nCCD_L"] == 16


def test_rows_power_and_refresh_leave_about_nine_times_the_bus():
    """AttAcc (ASPLOS 2024) counts with 9x under its power limit."""
    assert scale() == pytest.approx(9, rel=0.1)
    assert scale(power_limited=False) >= scale()


def test_activations_keep_the_window_and_columns_their_distance():
    dram = part(HBM3)
    ticks = dram.ticks()
    log = near_bank_product(dram, 4).log
    activations = [tick for tick, command, _ in log if command == "ACT4"]
    gaps = [b - a for a, b in pairwise(activations)]
    assert min(gaps) >= ticks["nFAW"]
    macs = [tick for tick, command, _ in log if command == "MACab"]
    assert min(b - a for a, b in pairwise(macs)) == ticks["nCCD_L"]
    assert (log[0][1], log[-1][1]) == ("PIM_ENTER", "PIM_EXIT")
    relaxed = near_bank_product(dram, 4, power_limited=False).log
    first, second = [tick for tick, command, _ in relaxed if command == "ACT4"][:2]
    assert second - first < ticks["nFAW"]


def test_refreshes_are_obeyed():
    dram = part(HBM3)
    run = near_bank_product(dram, 300)
    refreshes = [tick for tick, command, _ in run.log if command == "REFab"]
    assert len(refreshes) == run.ticks // dram.ticks()["nREFI"]
    for tick in refreshes:
        later = min((t for t, c, _ in run.log if c == "ACT4" and t > tick), default=None)
        assert later is None or later >= tick + dram.ticks()["nRFC"] - 2


def test_part_without_near_bank_commands_is_refused():
    with pytest.raises(ConfigError, match="no near-bank commands"):
        near_bank_product(part("ddr4-3200-hermes"), 1)
