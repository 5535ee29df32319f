from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ndpsim.dram import (
    DramSpec,
    Stream,
    audit_stream,
    check_log,
    kernel,
    peak_bytes_per_s,
    reference,
    refresh_interval_ps,
    resolve,
    stream_marks,
)
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo, NoMemo
from ndpsim.units import ceil_div, ps_from_cycles
from tests.dram.parts import STANDARDS, ddr4, part, random_parts


def brute_force(part: DramSpec, stream: Stream, marks: tuple[int, ...]):
    """The stream, every command of it through the kernel."""
    device = resolve(part)
    size = part.transaction_bytes
    first_refresh = None
    if device.refresh_interval:
        offset = stream.refresh_offset_ps * device.clock_hz // 10**12
        first_refresh = device.refresh_interval - offset
    run = kernel.run(
        part,
        stream.shape.requests(part, ceil_div(stream.n_bytes, size)),
        first_refresh=first_refresh,
        charge_precharge=True,
    )
    times = [
        ps_from_cycles(max(run.completed[: ceil_div(mark, size)], default=0), device.clock_hz)
        for mark in marks
    ]
    counts = {name: count for name, count in run.counts.items() if count}
    return tuple(times), ps_from_cycles(run.cycles, device.clock_hz), counts


def agree(memo: Memo, part: DramSpec, stream: Stream, marks: tuple[int, ...]) -> None:
    got = stream_marks(memo, part, stream, marks)
    counts = {name: count for name, count in got.commands if count}
    assert (got.marks_ps, got.duration_ps, counts) == brute_force(part, stream, marks)


@st.composite
def shapes(draw: st.DrawFn, part: DramSpec) -> dict[str, Any]:
    """One or several runs in turn, read, written or both, in steps."""
    size, capacity = part.transaction_bytes, resolve(part).capacity_lines
    n_runs = draw(st.integers(1, 3))
    bases = [draw(st.integers(0, capacity // 2)) * size for _ in range(n_runs)]
    return {
        "kind": draw(st.sampled_from(("read", "read", "write", "rrw", "rw", "wwr"))),
        "bases": tuple(bases),
        "group": draw(st.sampled_from((1, 2, 3, 8))),
        "stride": draw(st.sampled_from((1, 1, 2, 7))),
    }


@st.composite
def streams(
    draw: st.DrawFn, part: DramSpec, most_lines: int, shape: dict[str, Any]
) -> tuple[Stream, tuple[int, ...]]:
    size = part.transaction_bytes
    n_bytes = draw(st.integers(1, most_lines * size))
    device = resolve(part)
    interval_ps = device.refresh_interval * 10**12 // device.clock_hz
    offset = draw(st.integers(0, interval_ps - 1)) if interval_ps else 0
    marks = draw(st.lists(st.integers(0, n_bytes), max_size=6))
    return Stream(n_bytes, refresh_offset_ps=offset, **shape), tuple(marks)


@pytest.mark.parametrize("family", STANDARDS)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_sequential_stream_takes_what_brute_force_says(family, jit, data):
    part = data.draw(random_parts((family,)))
    most = resolve(part).capacity_lines
    memo = Memo()
    for _ in range(3):
        agree(memo, part, *data.draw(streams(part, min(most, 3000), {})))


@pytest.mark.parametrize("family", STANDARDS)
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_regular_stream_takes_what_brute_force_says(family, jit, data):
    part = data.draw(random_parts((family,)))
    shape = data.draw(shapes(part))
    most = resolve(part).capacity_lines // 2 // shape["stride"] - 8
    assume(most > 0)
    memo = Memo()
    for _ in range(2):
        agree(memo, part, *data.draw(streams(part, min(most, 2000), shape)))


@pytest.mark.parametrize("name", sorted(set(STANDARDS.values())))
@settings(max_examples=4, deadline=None)
@given(st.data())
def test_regular_stream_of_a_real_part_takes_what_brute_force_says(name, jit, data):
    real = part(name)
    agree(Memo(), real, *data.draw(streams(real, 20_000, data.draw(shapes(real)))))


@settings(max_examples=15, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", ["ddr4-3200-hermes", "ddr4-8gb-x8-2400r"])
@pytest.mark.parametrize("refresh", ["all-bank", "none"])
def test_stream_of_a_real_part_takes_what_brute_force_says(name, refresh, jit, data):
    part = ddr4(name, refresh=refresh)
    agree(Memo(), part, *data.draw(streams(part, 30_000, {})))


@pytest.mark.parametrize("mapper", ["RoBaRaCoCh", "MOP4CLXOR", "streaming", "ChRaBaRoCo"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_every_mapper_and_two_ranks_over_many_refreshes(mapper, ranks, jit):
    part = ddr4(mapper=mapper, counts={"rank": ranks})
    agree(Memo(), part, Stream(4 << 20, refresh_offset_ps=1_234_567), (1, 100_000, 3 << 20))


@pytest.mark.parametrize("n_bytes", [1, 64, 65, 6400, 40_000])
def test_short_streams_without_the_compiler(n_bytes):
    part = ddr4("ddr4-3200-hermes", timing={"nREFI": 900})
    agree(Memo(), part, Stream(n_bytes, refresh_offset_ps=300_000), (0, n_bytes // 2, n_bytes))


def test_what_was_remembered_does_not_matter(jit):
    part = ddr4("ddr4-3200-hermes")
    asked = [(Stream(n, refresh_offset_ps=n), (n // 3, n)) for n in (9000, 700_000, 64, 2_000_000)]
    memo = Memo()
    together = [stream_marks(memo, part, *one) for one in asked]
    assert together == [stream_marks(NoMemo(), part, *one) for one in asked]
    assert together[::-1] == [stream_marks(memo, part, *one) for one in asked[::-1]]


def test_marks_may_come_in_any_order_and_repeat():
    part = ddr4("ddr4-3200-hermes")
    got = stream_marks(Memo(), part, Stream(3000), (3000, 0, 100, 100))
    assert got.marks_ps[0] == got.duration_ps
    assert got.marks_ps[1] == 0
    assert got.marks_ps[2] == got.marks_ps[3]
    assert got.marks_ps[2] < got.duration_ps


def test_first_transaction_pays_precharge_activation_and_latency():
    part = ddr4("ddr4-3200-hermes")
    cycles = part.cycles()
    wanted = cycles["nRP"] + cycles["nRCD"] + cycles["nCL"] + cycles["nBL"]
    got = stream_marks(Memo(), part, Stream(64))
    assert got.duration_ps == ps_from_cycles(wanted, part.clock)
    counts = dict(got.commands)
    assert (counts["PREab"], counts["ACT"], counts["RD"]) == (1, 1, 1)


def test_long_stream_reaches_the_refresh_limited_peak(jit):
    part = ddr4("ddr4-3200-hermes")
    n_bytes = 64 << 20
    got = stream_marks(Memo(), part, Stream(n_bytes))
    cycles = part.cycles()
    limit = 1 - cycles["nRFC"] / cycles["nREFI"]
    efficiency = n_bytes * 10**12 / got.duration_ps / peak_bytes_per_s(part)
    assert limit - 0.01 < efficiency < limit
    quiet = stream_marks(Memo(), ddr4("ddr4-3200-hermes", refresh="none"), Stream(n_bytes))
    assert n_bytes * 10**12 / quiet.duration_ps / peak_bytes_per_s(part) > 0.999


@pytest.mark.parametrize("name", ["ddr4-3200-hermes", "ddr4-8gb-x8-2400r"])
def test_every_command_of_a_stream_is_legal(name, jit):
    part = ddr4(name)
    assert audit_stream(part, Stream(1 << 20, refresh_offset_ps=3_000_000)) == ()
    assert audit_stream(ddr4(name, refresh="none"), Stream(100_000)) == ()


def test_audit_finds_what_is_illegal():
    part = ddr4("ddr4-3200-hermes")
    stricter = [
        rule.model_copy(update={"latency": {"nRCD": 1, "clock": -23}})
        if rule.latency == {"nRCD": 1}
        else rule
        for rule in part.standard.constraints
    ]
    lax = part.standard.model_copy(update={"constraints": tuple(stricter)})
    log = reference.run(part.model_copy(update={"standard": lax}), [(0, False)]).log
    assert any("nRCD" in line for line in check_log(part, log))


def test_refresh_interval_is_a_time():
    assert refresh_interval_ps(ddr4("ddr4-3200-hermes")) == 7_800_000
    assert refresh_interval_ps(ddr4("ddr4-8gb-x8-2400r")) == 7_803_334
    assert refresh_interval_ps(ddr4(refresh="none")) == 0


@pytest.mark.parametrize(
    ("stream", "marks", "what"),
    [
        (Stream(0), (), "at least one byte"),
        (Stream(1 << 40), (), "beyond the 8589934592 bytes"),
        (Stream(64, bases=(8 << 30,)), (), "beyond"),
        (Stream(64, bases=(1,)), (), "multiple of 64"),
        (Stream(64, bases=()), (), "from 1 on"),
        (Stream(64, kind="raw"), (), "letters r and w"),
        (Stream(64), (65,), "outside"),
        (Stream(64), (-1,), "outside"),
        (Stream(64, refresh_offset_ps=7_800_000), (), "refresh offset"),
        (Stream(64, refresh_offset_ps=-1), (), "refresh offset"),
    ],
)
def test_senseless_streams_are_refused(stream, marks, what):
    with pytest.raises(ConfigError, match=what):
        stream_marks(Memo(), ddr4("ddr4-3200-hermes"), stream, marks)
