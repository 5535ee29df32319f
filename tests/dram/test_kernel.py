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
