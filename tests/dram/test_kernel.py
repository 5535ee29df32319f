import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.dram import DramSpec, check_log, kernel, reference, resolve
from tests.dram.parts import STANDARDS, ddr4, random_parts


def _pattern(draw: st.DrawFn, part: DramSpec, n_requests: int) -> list[tuple[int, bool]]:
    cap = resolve(part).capacity_lines
    kind = draw(st.sampled_from(("sequential", "random", "few")))
    writes = draw(st.sampled_from(("none", "some", "all")))
    random = draw(st.randoms(use_true_random=False))
    start = random.randrange(cap)
    few = [random.randrange(cap) for _ in range(6)]
    lines = {
        "sequential": lambda i: (start + i) % cap,
        "random": lambda i: random.randrange(cap),
        "few": lambda i: random.choice(few),
    }[kind]
    return [
        (lines(i), writes == "all" or (writes == "some" and random.random() < 0.4))
        for i in range(n_requests)
    ]


@st.composite
def cases(
    draw: st.DrawFn, family: str
) -> tuple[DramSpec, list[tuple[int, bool]], int | None, bool]:
    part = draw(random_parts((family,)))
    requests = _pattern(draw, part, draw(st.integers(1, 60)))
    first_refresh = draw(st.none() | st.integers(1, 100))
    return part, requests, first_refresh, draw(st.booleans())


@pytest.mark.parametrize("family", STANDARDS)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_kernel_issues_the_reference_commands_and_they_are_legal(family, data):
    part, requests, first_refresh, charged = data.draw(cases(family))
    options = {"first_refresh": first_refresh, "charge_precharge": charged}
    expected = reference.run(part, requests, **options)
    got = kernel.run(part, requests, max_log=10_000, **options)
    assert got == expected
    assert check_log(part, expected.log) == ()


def test_log_stops_when_full_and_the_run_goes_on():
    requests = [(line, False) for line in range(20)]
    full = kernel.run(ddr4(), requests, max_log=100)
    short = kernel.run(ddr4(), requests, max_log=3)
    assert short.log == full.log[:3]
    assert short.completed == full.completed


def test_read_is_forwarded_from_a_waiting_write():
    run = kernel.run(ddr4(), [(9, True), (9, False)])
    assert run == reference.run(ddr4(), [(9, True), (9, False)]).__class__(
        run.cycles, run.completed, 0, 1, 0, {"ACT": 1, "WR": 1}, ()
    )
    assert run.completed[1] == 1


def _commands(part: DramSpec, requests: list[tuple[int, bool]]) -> list[str]:
    return [issued.command for issued in reference.run(part, requests).log]


def test_closed_rows_turn_conflicts_into_misses():
    in_turn = [(i % 4 * 128 + i // 4 * 128 * 16, False) for i in range(12)]
    slow = {"refresh": "none", "read_queue": 1}
    still = kernel.run(ddr4(**slow), in_turn)
    closed = kernel.run(ddr4(row_policy="closed", **slow), in_turn)
    assert (still.row_conflicts, still.row_misses) == (8, 4)
    assert closed.row_conflicts <= 2


def test_row_is_closed_after_its_time_and_not_before():
    part = ddr4(row_policy="timeout", row_timeout="20 ns", refresh="none")
    log = reference.run(part, [(0, False)]).log
    assert [(issued.tick, issued.command) for issued in log] == [(1, "ACT"), (23, "RD")]
    late = reference.run(part.model_copy(update={"standard": part.standard}), [(0, False)] * 3).log
    assert "PREpb" not in [issued.command for issued in late]
    soon = ddr4(row_policy="closed", refresh="none", timing={"nRTP": 5, "nRAS": 27})
    assert _commands(soon, [(0, False)]) == ["ACT", "RD", "PREpb"]


def test_first_come_first_served_never_overtakes():
    part = ddr4(scheduler="FCFS", refresh="none")
    requests = [(i * 128 * 16 if i % 2 else i, False) for i in range(40)]
    completed = kernel.run(part, requests).completed
    assert list(completed) == sorted(completed)


def test_postponed_refreshes_come_later_but_come(jit):
    requests = [(line, False) for line in range(40_000)]
    first = {}
    for postponed in (0, 4):
        part = ddr4(postponed_refreshes=postponed)
        log = kernel.run(part, requests, max_log=100_000).log
        ticks = [issued.tick for issued in log if issued.command == "REFab"]
        first[postponed] = ticks[0]
        assert len(ticks) + postponed >= log[-1].tick // part.cycles()["nREFI"]
    assert first[4] > first[0] + 4 * part.cycles()["nREFI"] - 1000
