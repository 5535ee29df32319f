"""Laws of expert slices on an NDP unit: bytes, FLOP and time."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndpsim.dram import Stream, stream_marks
from ndpsim.errors import ConfigError
from ndpsim.memo import NoMemo
from ndpsim.ndp import (
    ExpertSlice,
    NdpSpec,
    execute,
    flop_per_s,
    memory_bytes_per_s,
    refresh_interval_ps,
)
from ndpsim.ndp.unit import tiles
from ndpsim.units import ceil_div, ps_for, ps_from_cycles
from ndpsim.workload.operators import Format

FP16 = Format("fp16", 16)
INT4 = Format("int4", 4, group=128, scale_bits=16)
QWEN3 = ExpertSlice(1, 768, 2048, 3, FP16)
"""An expert of Qwen3-30B-A3B, whole, for one token."""


def tokens(piece, n_tokens):
    """The same slice for another number of tokens."""
    return ExpertSlice(n_tokens, piece.columns, piece.d_model, piece.n_matrices, piece.weight)


slices = st.builds(
    ExpertSlice,
    n_tokens=st.integers(1, 40),
    columns=st.integers(1, 96),
    d_model=st.sampled_from((128, 256, 1000)),
    n_matrices=st.sampled_from((2, 3)),
    weight=st.sampled_from((FP16, INT4, Format("int8", 8))),
)
work = st.lists(slices, min_size=1, max_size=4).map(tuple)
shared_fixtures = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@shared_fixtures
@given(work=work)
def test_no_unit_is_faster_than_its_memory_or_its_multipliers(work, memo, dimm):
    done = memo(execute, dimm, work, 0)
    flop_ps = sum(ps_for(p.flop, flop_per_s(dimm, p.weight)) - 1 for p in work)
    assert done.duration_ps >= ps_for(done.n_bytes, memory_bytes_per_s(dimm))
    assert done.duration_ps >= flop_ps


@shared_fixtures
@given(work=work)
def test_every_weight_is_read_and_multiplied_once(work, memo, dimm):
    done = memo(execute, dimm, work, 0)
    assert done.n_bytes == sum(
        p.n_matrices * p.weight.bytes_for(p.columns * p.d_model) for p in work
    )
    assert done.flop == sum(2 * p.n_matrices * p.columns * p.d_model * p.n_tokens for p in work)
    n_lines = ceil_div(ceil_div(done.n_bytes, dimm.ranks), dimm.dram.transaction_bytes)
    assert dict(done.commands)["RD"] == dimm.ranks * n_lines


@shared_fixtures
@given(piece=slices)
def test_tiles_cover_a_slice_in_order_and_end_with_its_last_byte(piece, memo, dimm):
    dimm = dimm.model_copy(update={"tile": 4096})
    cut = tiles(memo, dimm, piece)
    ends = [end for end, _ in cut]
    assert ends == sorted(set(ends))
    assert ends[-1] == piece.weight_bytes
    assert len(cut) == ceil_div(piece.n_weights, 4096 * 8 // piece.weight.bits)


@shared_fixtures
@given(piece=slices)
def test_multipliers_keep_their_rate_and_fill_up_once_before_the_down_product(piece, memo, dimm):
    """Cycles: weights x tokens / MACs, rounded up per tile, one fill, one activation function."""
    dimm = dimm.model_copy(update={"tile": 4096})
    cut = tiles(memo, dimm, piece)
    spent = sum(tile_ps for _, tile_ps in cut) * dimm.clock // 10**12
    macs = dimm.macs_per_cycle[piece.weight.name]
    multiply = ceil_div(piece.n_weights * piece.n_tokens, macs)
    activate = ceil_div(piece.columns * piece.n_tokens, dimm.activation_lanes)
    least = multiply + activate + dimm.pipeline_cycles
    assert least <= spent < least + len(cut)


@shared_fixtures
@given(piece=slices, more=st.integers(1, 20), columns=st.integers(1, 40))
def test_more_tokens_or_more_columns_never_take_less_time(piece, more, columns, memo, dimm):
    alone_ps = memo(execute, dimm, (piece,), 0).duration_ps
    wider = ExpertSlice(
        piece.n_tokens, piece.columns + columns, piece.d_model, piece.n_matrices, piece.weight
    )
    assert memo(execute, dimm, (tokens(piece, piece.n_tokens + more),), 0).duration_ps >= alone_ps
    assert memo(execute, dimm, (wider,), 0).duration_ps >= alone_ps


@shared_fixtures
@given(work=work, extra=slices)
def test_more_experts_never_take_less_time(work, extra, memo, dimm):
    alone_ps = memo(execute, dimm, work, 0).duration_ps
    assert memo(execute, dimm, (*work, extra), 0).duration_ps > alone_ps


@pytest.mark.parametrize("offset_ps", [0, 2_000_000, 7_700_000])
def test_with_endless_multipliers_a_unit_takes_its_stream_and_one_tile(offset_ps, memo, dimm):
    dimm = dimm.model_copy(
        update={"macs_per_cycle": {"fp16": 10**9}, "activation_lanes": 10**9, "pipeline_cycles": 0}
    )
    stream = Stream(QWEN3.weight_bytes // dimm.ranks, refresh_offset_ps=offset_ps)
    stream_ps = memo(stream_marks, dimm.dram, stream, ()).duration_ps
    assert memo(execute, dimm, (QWEN3,), offset_ps).duration_ps == stream_ps + 1000


def test_with_many_tokens_a_unit_takes_its_first_tile_and_all_its_multiplications(memo, dimm):
    piece = tokens(QWEN3, 64)
    stream = Stream(piece.weight_bytes // dimm.ranks)
    first_ps = memo(stream_marks, dimm.dram, stream, (dimm.tile // dimm.ranks,)).marks_ps[0]
    cycles = piece.flop // 2 // 256 + 768 * 64 // 256 + 2 * dimm.pipeline_cycles
    expected_ps = first_ps + ps_from_cycles(cycles, dimm.clock)
    assert memo(execute, dimm, (piece,), 0).duration_ps == expected_ps


def test_one_token_reads_at_the_rate_of_streamed_ranks_with_refresh(memo, dimm):
    """Facts 6: expected 0.85 to 0.95 of the 102.4 GB/s peak."""
    done = memo(execute, dimm, (QWEN3,), 0)
    frac = ps_for(done.n_bytes, memory_bytes_per_s(dimm)) / done.duration_ps
    assert 0.85 <= frac <= 0.95


def test_a_batch_turns_from_memory_to_compute_bound_at_five_tokens_per_weight(memo, dimm):
    """The balance of 512 GFLOP/s and 102.4 GB/s of 2-byte weights."""
    times = [memo(execute, dimm, (tokens(QWEN3, n),), 0).duration_ps for n in range(1, 13)]
    assert all(time_ps < 1.02 * times[0] for time_ps in times[:5])
    slope_ps = QWEN3.flop * 10**12 / flop_per_s(dimm, FP16)
    assert all(
        later - earlier == pytest.approx(slope_ps, rel=0.1)
        for earlier, later in pairwise(times[5:])
    )
    assert times[9] == pytest.approx(10 * slope_ps, rel=0.03)


def test_four_bit_weights_turn_compute_bound_at_two_tokens(memo, dimm):
    """About a quarter of the bytes and equal multipliers."""
    piece = ExpertSlice(1, 768, 2048, 3, INT4)
    one_ps, two_ps, four_ps = (
        memo(execute, dimm, (tokens(piece, n),), 0).duration_ps for n in (1, 2, 4)
    )
    assert one_ps < memo(execute, dimm, (QWEN3,), 0).duration_ps / 3
    assert four_ps == pytest.approx(2 * two_ps, rel=0.05)


def test_half_the_columns_take_half_the_time_but_for_the_start(memo, dimm):
    whole_ps = memo(execute, dimm, (QWEN3,), 0).duration_ps
    half = ExpertSlice(1, 384, 2048, 3, FP16)
    half_ps = memo(execute, dimm, (half,), 0).duration_ps
    assert whole_ps / 2 <= half_ps <= whole_ps / 2 + 1_500_000


def test_experts_back_to_back_save_the_second_start(memo, dimm):
    first_ps = memo(execute, dimm, (QWEN3,), 0).duration_ps
    second_ps = memo(execute, dimm, (QWEN3,), first_ps).duration_ps
    both_ps = memo(execute, dimm, (QWEN3, QWEN3), 0).duration_ps
    assert both_ps < first_ps + second_ps < 1.01 * both_ps


def test_the_refresh_phase_moves_an_end_by_at_most_two_refreshes(memo, dimm):
    refresh_ps = ps_from_cycles(2 * dimm.dram.cycles()["nRFC"], dimm.dram.clock)
    offsets_ps = [i * refresh_interval_ps(dimm) // 8 for i in range(8)]
    times = [memo(execute, dimm, (QWEN3,), offset_ps).duration_ps for offset_ps in offsets_ps]
    assert 0 < max(times) - min(times) <= refresh_ps


@shared_fixtures
@given(work=work, offset_ps=st.integers(0, 7_000_000), n_intervals=st.integers(1, 10**6))
def test_whole_refresh_intervals_later_everything_takes_the_same(
    work, offset_ps, n_intervals, memo, dimm
):
    later_ps = offset_ps + n_intervals * refresh_interval_ps(dimm)
    assert memo(execute, dimm, work, later_ps) == memo(execute, dimm, work, offset_ps)


def test_memory_of_streams_changes_no_integer(memo, dimm):
    work = (tokens(QWEN3, 2), tokens(QWEN3, 3))
    assert execute(NoMemo(), dimm, work, 10**6) == memo(execute, dimm, work, 10**6)


def test_a_format_without_a_rate_is_refused(memo, dimm):
    piece = ExpertSlice(1, 16, 128, 3, Format("fp12", 12))
    with pytest.raises(ConfigError, match=r"no MAC rate for format 'fp12'; has: bf16, fp16, "):
        execute(memo, dimm, (piece,), 0)


def test_two_tiles_must_fit_the_buffer(dimm):
    plain = dimm.model_dump(mode="json") | {"tile": "129 KiB"}
    with pytest.raises(ValueError, match="2 tiles of 132096 bytes do not fit the buffer of 262144"):
        NdpSpec.model_validate(plain)
