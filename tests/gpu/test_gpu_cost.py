import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import ConfigError
from ndpsim.gpu import (
    GpuSpec,
    decode_attention_ps,
    flop_energy_fj,
    l2_hit_bytes,
    memory_bytes_per_s,
    operator_ps,
    peak_flop_per_s,
)
from ndpsim.memo import Memo, NoMemo
from ndpsim.spec import load_preset, preset_names
from ndpsim.units import ceil_div
from ndpsim.workload.operators import Attention, Elementwise, Format, Gemm, GroupedGemm, Operator

FP16 = Format("fp16", 16)
INT8 = Format("int8", 8)
INT4 = Format("int4", 4, group=128, scale_bits=16)
MEMO = Memo()

GPUS = {name: load_preset("gpu", name, GpuSpec) for name in preset_names("gpu")}
BOTH_RULES = [
    gpu.model_copy(update={"rule": rule}) for gpu in GPUS.values() for rule in ("sm", "attacc")
]
RTX, A100, H100 = (GPUS[name] for name in ("rtx-5080", "a100-sxm4-80gb", "h100-sxm-80gb"))


def gemm(m: int, n: int, k: int, weight: Format = FP16, activation: Format = FP16) -> Gemm:
    return Gemm("gemm", m, n, k, weight, activation)


def attention(batch: int, n_query: int, context: int, heads: int = 32, kv: int = 4) -> Attention:
    return Attention(
        "attention", batch, n_query, context, heads, kv, 128, 128, 2 * 128 * kv, FP16, FP16
    )


sizes = st.integers(1, 5000)
gemms = st.builds(gemm, sizes, sizes, sizes, st.sampled_from([FP16, INT8, INT4]))
grouped_gemms = st.builds(
    lambda tokens, n, k, weight: GroupedGemm("grouped", tuple(tokens), n, k, weight, FP16),
    st.lists(st.integers(1, 600), min_size=1, max_size=16),
    sizes,
    sizes,
    st.sampled_from([FP16, INT8, INT4]),
)
attentions = st.builds(
    lambda batch, past, n_query, kv, group: attention(
        batch, n_query, past + n_query, kv * group, kv
    ),
    st.integers(1, 16),
    st.integers(0, 8192),
    st.one_of(st.just(1), st.integers(1, 2048)),
    st.sampled_from([1, 4, 32]),
    st.sampled_from([1, 8]),
)
elementwises = st.builds(
    lambda name, read, written, flop: Elementwise(name, read, written, flop * written, FP16),
    st.sampled_from(["input_norm", "expert_activation", "rotary"]),
    st.integers(1, 10**8),
    st.integers(1, 10**7),
    st.integers(0, 8),
)


gpus = st.sampled_from(BOTH_RULES)
operators = st.one_of(gemms, grouped_gemms, attentions, elementwises)


@settings(max_examples=400)
@given(gpu=gpus, operator=operators)
def test_no_operator_beats_the_rates_of_the_bound(gpu: GpuSpec, operator: Operator) -> None:
    took_ps = operator_ps(MEMO, gpu, operator)
    memory_ps = operator.n_bytes * 10**12 / memory_bytes_per_s(gpu)
    assert took_ps >= math.floor(memory_ps)
    if not isinstance(operator, Elementwise):
        flop_ps = operator.flop * 10**12 / peak_flop_per_s(gpu, operator.activation.name)
        assert took_ps >= math.floor(flop_ps)


@settings(max_examples=400)
@given(gpu=gpus, operator=operators)
def test_more_bandwidth_is_never_slower(gpu: GpuSpec, operator: Operator) -> None:
    faster = gpu.model_copy(update={"memory_bandwidth": gpu.memory_bandwidth * 2})
    assert operator_ps(MEMO, faster, operator) <= operator_ps(MEMO, gpu, operator)


@given(operator=operators)
def test_a_faster_clock_is_never_slower(operator: Operator) -> None:
    faster = RTX.model_copy(update={"clock": RTX.clock * 2})
    assert operator_ps(MEMO, faster, operator) <= operator_ps(MEMO, RTX, operator)


def test_remembering_changes_no_integer() -> None:
    operator, memo = gemm(8, 1536, 2048), Memo()
    remembered = [memo(operator_ps, RTX, operator) for _ in range(2)]
    assert remembered == [NoMemo()(operator_ps, RTX, operator)] * 2


def test_an_eager_launch_costs_the_difference_once_per_operator() -> None:
    eager = RTX.model_copy(update={"launch": "eager"})
    for operator in (gemm(1, 2048, 2048), attention(1, 1, 100), Elementwise("x", 9, 9, 9, FP16)):
        gap_ps = operator_ps(MEMO, eager, operator) - operator_ps(MEMO, RTX, operator)
        assert gap_ps == pytest.approx(RTX.launch_eager - RTX.launch_graph, abs=1)


def test_a_long_weight_stream_runs_at_memory_speed() -> None:
    operator = gemm(1, 65536, 8192)
    stream_ps = operator.n_bytes * 10**12 / memory_bytes_per_s(RTX)
    assert operator_ps(MEMO, RTX, operator) < 1.02 * stream_ps


def test_a_large_gemm_runs_near_the_tensor_rate() -> None:
    operator = gemm(8192, 8192, 8192)
    flop_ps = operator.flop * 10**12 / peak_flop_per_s(A100, "fp16")
    assert operator_ps(MEMO, A100, operator) < 1.15 * flop_ps


def test_one_tile_more_than_a_wave_costs_a_tail() -> None:
    """108 SMs: 108 tiles of 128 x 256 fill one wave; one row more starts another."""
    one_wave = operator_ps(MEMO, A100, gemm(128 * 12, 256 * 9, 16384))
    with_tail = operator_ps(MEMO, A100, gemm(128 * 12 + 1, 256 * 9, 16384))
    assert with_tail > 1.05 * one_wave


def test_narrow_weights_save_bytes_but_not_arithmetic() -> None:
    for m, faster in ((1, True), (8192, False)):
        wide = operator_ps(MEMO, A100, gemm(m, 8192, 8192))
        narrow = operator_ps(MEMO, A100, gemm(m, 8192, 8192, weight=INT4))
        assert (narrow < wide) is faster


def test_a_missing_rate_names_the_formats_there_are() -> None:
    operator = gemm(1, 64, 64, weight=Format("fp8", 8), activation=Format("fp8", 8))
    with pytest.raises(ConfigError, match=r"no GEMM rate for format 'fp8'.*bf16, fp16, fp32, int8"):
        operator_ps(MEMO, A100, operator)
    with pytest.raises(ConfigError, match="'fp8'"):
        flop_energy_fj(A100, "fp8")


def test_every_rate_has_an_energy() -> None:
    fields = RTX.model_dump(mode="json")
    fields["flop_energy"].pop("int8")
    with pytest.raises(ValueError, match="must name the same formats: int8"):
        GpuSpec.model_validate(fields)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_full_load_stays_within_the_power_limit(gpu: GpuSpec) -> None:
    dynamic_w = peak_flop_per_s(gpu, "fp16") * flop_energy_fj(gpu, "fp16") * 1e-15
    memory_w = memory_bytes_per_s(gpu) * 8 * gpu.memory_energy * 1e-15
    assert dynamic_w + memory_w + gpu.idle_power * 1e-6 <= gpu.peak_power * 1e-6


def attacc_by_search(gpu: GpuSpec, m: int, n: int, k: int, b: int = 2) -> float:
    """Seconds of an AttAcc layer with every L2 tile tried, as the published rule states it."""
    sides = (8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512)
    best = (math.inf, 0, 0, 0.0)
    for tm, tn in itertools.product(sides, sides):
        tm, tn = min(tm, m), min(tn, n)
        if (tm + tn) * 32 * b + tm * tn * b > gpu.l1_capacity:
            continue
        blocks = ceil_div(m, tm) * ceil_div(n, tn)
        u = blocks / (ceil_div(blocks, gpu.sms) * gpu.sms)
        traffic = (ceil_div(n, tn) * m * k + ceil_div(m, tm) * n * k + m * n) * b
        if traffic / u**2 < best[0]:
            best = (traffic / u**2, tm, tn, u)
    _, tm, tn, u = best
    off_chip = math.inf
    for lm in [*range(tm, m + 1, tm), m]:
        for ln in [*range(tn, n + 1, tn), n]:
            fits = (lm + ln) * (k / 64) * b + lm * ln * b <= gpu.l2_capacity
            if fits or (lm, ln) == (tm, tn):
                moved = (ceil_div(m, lm) * n * k + ceil_div(n, ln) * m * k + m * n) * b
                off_chip = min(off_chip, moved)
    peak = gpu.matrix_flop["fp16"] * gpu.sms * gpu.clock
    return max(2 * m * n * k / (peak * 0.80 * u), off_chip / (gpu.memory_bandwidth * 0.85 * u))


@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1, 1536, 2048), (32, 2048, 768), (512, 4096, 2048), (7, 100, 64), (3000, 2900, 4096)],
)
def test_attacc_gemm_is_the_published_rule(m: int, n: int, k: int) -> None:
    gpu = RTX.model_copy(update={"rule": "attacc"})
    expected_ps = attacc_by_search(gpu, m, n, k) * 1e12
    assert operator_ps(MEMO, gpu, gemm(m, n, k)) == pytest.approx(expected_ps, abs=2)


def test_attacc_pays_its_fixed_costs() -> None:
    gpu = A100.model_copy(update={"rule": "attacc", "memory_bandwidth": 1_555_000_000_000})
    activation = Elementwise("expert_activation", 250_000, 250_000, 0, FP16)
    norm = Elementwise("input_norm", 250_000, 250_000, 0, FP16)
    assert operator_ps(MEMO, gpu, activation) == pytest.approx(8_290_000 + 447_000, abs=1)
    assert operator_ps(MEMO, gpu, norm) == pytest.approx(6_870_000 + 1_600_000, abs=1)


def test_weights_found_in_l2_are_not_read_from_memory() -> None:
    """16 MiB fit the half of L2 that each partition of an A100 has; 64 MiB leave nothing behind."""
    small, large = gemm(1, 2048, 4096), gemm(1, 8192, 4096)
    held = l2_hit_bytes(A100, small.weight_bytes)
    assert held == small.weight_bytes
    saved_ps = held * 10**12 / memory_bytes_per_s(A100)
    cold_ps, warm_ps = (operator_ps(MEMO, A100, small, n) for n in (0, held))
    assert cold_ps - saved_ps <= warm_ps < cold_ps - 0.5 * saved_ps
    assert l2_hit_bytes(A100, large.weight_bytes) == 0
    assert 0 < l2_hit_bytes(A100, 30 * 2**20) < 20 * 2**20


def test_equal_tokens_in_one_grouped_kernel_beat_a_kernel_per_expert() -> None:
    alone = operator_ps(MEMO, H100, gemm(4, 1536, 2048))
    together = operator_ps(MEMO, H100, GroupedGemm("g", (4,) * 32, 1536, 2048, FP16, FP16))
    assert together < 16 * alone


def test_grouped_time_grows_with_the_experts_that_have_tokens() -> None:
    """Sixteen times the weights at few tokens: memory decides, not tokens."""
    times = [
        operator_ps(MEMO, H100, GroupedGemm("g", (2,) * n, 4096, 4096, FP16, FP16))
        for n in (8, 128)
    ]
    stream_ps = 120 * 4096 * 4096 * 2 * 10**12 / memory_bytes_per_s(H100)
    assert times[1] - times[0] == pytest.approx(stream_ps, rel=0.05)
    skewed = GroupedGemm("g", (249,) + (1,) * 7, 4096, 4096, FP16, FP16)
    assert operator_ps(MEMO, H100, skewed) < 1.5 * times[0]


@pytest.mark.parametrize("rule", ["sm", "attacc"])
@pytest.mark.parametrize(
    "one",
    [
        attention(1, 1, 1),
        attention(3, 1, 1, heads=64, kv=64),
        Attention("mla", 2, 1, 1, 128, 1, 576, 512, 576, FP16, FP16),
        Attention("window", 4, 1, 1, 64, 8, 64, 64, 1024, INT4, FP16, window=128),
    ],
    ids=lambda one: one.name,
)
def test_decode_at_many_contexts_is_decode_at_each(rule: str, one: Attention) -> None:
    gpu = RTX.model_copy(update={"rule": rule})
    contexts = np.arange(1, 20_000, 271)
    each = [operator_ps(MEMO, gpu, replace(one, context=int(n))) for n in contexts]
    assert decode_attention_ps(gpu, one, contexts).tolist() == each


def test_decode_takes_one_query() -> None:
    with pytest.raises(ConfigError, match="decode has one query, got 2"):
        decode_attention_ps(RTX, attention(1, 2, 8), np.array([8]))


def test_a_long_cache_is_split_over_the_sms() -> None:
    """One sequence with four KV heads would keep four SMs busy."""
    long = attention(1, 1, 65536)
    stream_ps = long.cache_bytes * 10**12 / memory_bytes_per_s(A100)
    assert operator_ps(MEMO, A100, long) < 1.5 * stream_ps + 30_000_000


def test_prefill_queries_are_padded_to_whole_tiles() -> None:
    """As measured: 16 new tokens after 16384 take as long as 64."""
    few, tile = (
        operator_ps(MEMO, RTX, attention(1, n, 16384 + n)) for n in (16, RTX.attention_rows)
    )
    assert few == pytest.approx(tile, rel=0.02)


def test_a_causal_prefill_costs_half_of_a_full_one() -> None:
    causal = operator_ps(MEMO, A100, attention(4, 4096, 4096))
    chunk = operator_ps(MEMO, A100, attention(4, 4096, 8192))
    assert chunk == pytest.approx(3 * causal, rel=0.1)


def test_four_bit_floats_cost_more_to_widen_than_integers() -> None:
    mxfp4 = Format("mxfp4", 4, group=128, scale_bits=16)
    for m in (1, 4096):
        times = [operator_ps(MEMO, H100, gemm(m, 8192, 8192, weight=w)) for w in (INT4, mxfp4)]
        assert times[0] <= times[1]


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_presets_name_sane_machines(gpu: GpuSpec) -> None:
    assert {"fp32", "fp16"} <= gpu.matrix_flop.keys()
    assert gpu.format_frac.keys() <= gpu.matrix_flop.keys()
    assert gpu.launch_kernel <= gpu.launch_graph <= gpu.launch_eager
    in_flight = gpu.bytes_in_flight * gpu.sms / (gpu.memory_latency * 1e-12)
    assert in_flight > memory_bytes_per_s(gpu)  # all SMs together saturate the memory
