from dataclasses import replace
from typing import Any

import pytest

from ndpsim.dram import (
    DramSpec,
    Issued,
    Stream,
    check_log,
    command_energy_fj,
    kernel,
    peak_bytes_per_s,
    reference,
    standby_energy_fj,
    stream_marks,
)
from ndpsim.memo import Memo
from ndpsim.spec import load_preset
from tests.dram.parts import ddr4


def test_peak_is_a_burst_per_bus_slot():
    assert peak_bytes_per_s(ddr4("ddr4-8gb-x8-3200aa")) == 25_600_000_000
    assert peak_bytes_per_s(ddr4("ddr4-8gb-x8-2400r")) == 19_200_000_000
    assert peak_bytes_per_s(ddr4("ddr4-3200-hermes")) == 25_600_000_000


def test_peak_falls_with_the_column_delay_when_there_is_one_bank_group():
    one_group = ddr4(counts={"bankgroup": 1})
    assert peak_bytes_per_s(one_group) == 12_800_000_000
    assert peak_bytes_per_s(ddr4(timing={"nCCD_S": 5})) == 20_480_000_000


def test_hermes_rank_is_what_its_table_says():
    part = load_preset("dram", "ddr4-3200-hermes", DramSpec)
    cycles = part.cycles()
    table = {"nRC": 76, "nRCD": 24, "nCL": 24, "nRP": 24, "nBL": 4, "nCCD_S": 4, "nCCD_L": 8}
    table |= {"nRRD_S": 4, "nRRD_L": 6, "nFAW": 26}
    assert {symbol: cycles[symbol] for symbol in table} == table
    counts = part.organisation.counts
    rows_bytes = counts["column"] * part.organisation.channel_width_bits // 8
    n_banks = counts["bankgroup"] * counts["bank"]
    assert (n_banks, n_banks * counts["row"] * rows_bytes) == (8, 8 << 30)


@pytest.mark.parametrize("n_requests", [2, 50, 400])
def test_bank_conflicts_cost_a_row_cycle_each(n_requests):
    part = ddr4(refresh="none")
    per_row_of_all_banks = 128 * 16
    requests = [(i * per_row_of_all_banks, False) for i in range(n_requests)]
    cycles = part.cycles()
    run = kernel.run(part, requests)
    alone = 1 + cycles["nRCD"] + cycles["nCL"] + cycles["nBL"]
    assert run.cycles == alone + (n_requests - 1) * cycles["nRC"]
    assert (run.row_hits, run.row_misses + run.row_conflicts) == (0, n_requests)


def test_refresh_adds_its_duration_to_bank_conflicts():
    """Every refresh comes on top of the row cycles, as the reference figures have it."""
    requests = [(i * 128 * 16, False) for i in range(700)]
    quiet = kernel.run(ddr4(refresh="none"), requests)
    part = ddr4()
    run = kernel.run(part, requests)
    n_refresh = run.counts["REFab"]
    assert n_refresh == run.cycles // part.cycles()["nREFI"] == 4
    assert run.cycles == quiet.cycles + n_refresh * part.cycles()["nRFC"]


def test_activations_limit_single_accesses_to_other_banks():
    part = ddr4("ddr4-3200-hermes", mapper="ro ba bg ra co", refresh="none")
    run = kernel.run(part, [(i * 128, False) for i in range(4000)])
    cycles = part.cycles()
    per_access = max(cycles["nFAW"] / 4, cycles["nRRD_S"], cycles["nRC"] / 8)
    assert run.cycles / 4000 == pytest.approx(per_access, rel=0.02)


def test_one_bank_group_streams_at_its_column_delay():
    part = ddr4("ddr4-3200-hermes", counts={"bankgroup": 1}, refresh="none")
    got = stream_marks(Memo(), part, Stream(4 << 20))
    cycles = got.duration_ps // 625
    assert cycles / (4 << 14) == pytest.approx(part.cycles()["nCCD_L"], rel=0.01)


def test_energy_counts_commands():
    part = load_preset("dram", "ddr4-3200-hermes", DramSpec)
    energy = part.energy
    counts = {"ACT": 3, "RD": 5, "PREpb": 2}
    assert command_energy_fj(part, counts) == 3 * energy["ACT"] + 5 * energy["RD"]
    assert standby_energy_fj(part, 10**12) == part.standby_power * 10**9
    assert standby_energy_fj(part, 1) == 413


def _changed(**changes: Any) -> DramSpec:
    plain = ddr4().model_dump(mode="json")
    for path, value in changes.items():
        *groups, last = path.split("__")
        place = plain
        for group in groups:
            place = place[group]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return DramSpec.model_validate(plain)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"timing__nRPP": 3}, "'nRPP' is unknown.*did you mean 'nRP'"),
        ({"timing__nRP": None}, r"nRP \(or tRP\) is missing"),
        ({"timing__tRP": "15 ns"}, "timing.tRP: given in cycles as well"),
        ({"timing__nRP": None, "timing__tRP": 15}, "'t' symbols a time"),
        ({"timing__nRP": "15 ns"}, "'n' symbols take cycles"),
        ({"timing__nRP": -1}, "zero or more"),
        ({"organisation__counts__bank": 3}, "bank: expected a power of two, got 3"),
        ({"organisation__counts__vault": 2}, "'vault' is unknown"),
        ({"organisation__counts__rank": None}, "missing level 'rank'"),
        ({"organisation__counts__column": 4}, "longer than a row"),
        ({"organisation__channel_width_bits": 12}, "not whole bytes"),
        ({"controller__read_queue": 0}, "greater than 0"),
        ({"controller__write_low_frac": 0.9}, "at most write_high_frac"),
        ({"controller__scheduler": "LIFO"}, "FRFCFS"),
        ({"energy__REF": "1 pJ"}, "'REF' is unknown.*'REFab'"),
        ({"clock": 1600000000}, "bare number"),
        ({"timing__nREFI": 577}, "no time to read: one in 577 cycles, 577 busy"),
    ],
)
def test_part_that_makes_no_sense_is_refused(changes, what):
    with pytest.raises(ValueError, match=what):
        _changed(**changes)


def test_times_become_cycles_rounded_up():
    part = _changed(timing__nRP=None, timing__tRP="13.76 ns")
    assert part.cycles()["nRP"] == 23


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"level": "vault"}, "unknown"),
        ({"preceding": ["RDA"]}, "'RDA' is unknown"),
        ({"level": "bank", "preceding": ["REFab"]}, "addresses a whole rank"),
        ({"level": "channel", "sibling": True}, "siblings need a level below"),
        ({"latency": {}}, "at least one symbol"),
    ],
)
def test_rule_that_makes_no_sense_is_refused(change, what):
    plain = ddr4().model_dump(mode="json")
    plain["standard"]["constraints"][0] |= change
    with pytest.raises(ValueError, match=what):
        DramSpec.model_validate(plain)


def _log(*entries: tuple[int, str, int, int]) -> list[Issued]:
    return [Issued(tick, name, bank, row, 0) for tick, name, bank, row in entries]


@pytest.mark.parametrize(
    ("log", "what"),
    [
        (_log((1, "ACT", 0, 5), (22, "RD", 0, 5)), "within 22 ticks of 1 x ACT (bank, nRCD)"),
        (_log((1, "ACT", 0, 5), (50, "RD", 0, 6)), "row 6 is not open"),
        (_log((1, "ACT", 0, 5), (90, "ACT", 0, 6)), "row 5 is still open"),
        (_log((1, "ACT", 0, 5), (90, "REFab", 0, -1)), "row 5 is still open"),
        (_log((1, "ACT", 0, 5), (1, "ACT", 4, 5)), "while the command bus carries"),
        (_log((1, "RD", 0, 5)), "row 5 is not open"),
        (_log(*((1 + 8 * i, "ACT", 4 * i % 16 + i // 4, 0) for i in range(5))), "4 x ACT"),
    ],
)
def test_checker_finds_what_is_illegal(log, what):
    violations = check_log(ddr4(), log)
    assert any(what in line for line in violations)


def test_checker_and_reference_agree_on_a_busy_log():
    part = ddr4(counts={"rank": 2})
    requests = [((i * 7919 * 131) % 2**20, i % 3 == 0) for i in range(300)]
    run = reference.run(part, requests, first_refresh=500)
    assert check_log(part, run.log) == ()


def test_checker_finds_one_tick_too_early():
    part = ddr4(refresh="none")
    log = list(reference.run(part, [(i * 128 * 16, False) for i in range(4)]).log)
    assert check_log(part, log) == ()
    place = [issued.command for issued in log].index("ACT", 1)
    log[place] = replace(log[place], tick=log[place].tick - 1)
    assert any("nRC" in line for line in check_log(part, log))
