"""Statistics of traces: hand-made cases, laws, and figures counted on real traces."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from ndpsim.workload.stats import loads, reuse, trace_stats
from ndpsim.workload.trace import Trace, TraceInfo, read_trace, write_trace

from .test_trace import make_trace, traces

REAL = Path(__file__).parents[2].parent / "shared" / "traces"


def one_layer(rows: list[list[int]], n_experts: int, phases: list[int] | None = None) -> Trace:
    n = len(rows)
    info = TraceInfo("hand", n_experts, len(rows[0]), (0,))
    return Trace(
        info,
        np.zeros(n, np.uint32),
        np.arange(n, dtype=np.uint32),
        np.array(phases or [0] * n, np.uint8),
        np.array(rows, np.int16)[:, None, :],
    )


def test_figures_of_a_trace_counted_by_hand() -> None:
    """Loads 4, 2, 1, 1: Gini by its definition over pairs is 20 / (2 * 4 * 8)."""
    stats = trace_stats(one_layer([[0, 1], [0, 1], [0, 2], [0, 3]], 4, [0, 0, 1, 1]))
    (layer,) = stats["layers"]
    assert layer["hottest_over_mean"] == 2.0
    assert layer["gini"] == pytest.approx(10 / 32)
    assert layer["top_10pct_frac"] == 0.5
    assert layer["reuse_frac"] == pytest.approx(4 / 6)
    assert layer["reuse_chance_frac"] == pytest.approx((16 + 4 + 1 + 1) / (8 * 4))
    cosine = (2 * 2) / (np.sqrt(4 + 4) * np.sqrt(4 + 1 + 1))
    assert layer["prefill_decode_cosine"] == pytest.approx(cosine)
    assert layer["distinct_per_512"] is None
    assert stats["mean"]["gini"] == layer["gini"]


def test_even_loads_have_no_skew_and_one_expert_has_all() -> None:
    even = trace_stats(one_layer([[0], [1], [2], [3]], 4))["mean"]
    assert (even["hottest_over_mean"], even["gini"], even["reuse_frac"]) == (1.0, 0.0, 0.0)
    single = trace_stats(one_layer([[2]] * 600, 4))["mean"]
    assert (single["hottest_over_mean"], single["gini"]) == (4.0, 0.75)
    assert (single["reuse_frac"], single["distinct_per_512"]) == (1.0, 1.0)


def test_missing_choices_are_not_counted() -> None:
    experts = np.array([[[0, -1]], [[0, 1]], [[-1, -1]]], np.int16)
    assert loads(experts, 3).tolist() == [[2, 1, 0]]
    assert reuse(experts).tolist() == [0.5]


@settings(deadline=None, max_examples=50)
@given(trace=traces())
def test_choices_are_tokens_times_top_k(trace: Trace) -> None:
    counts = loads(trace.experts, trace.info.n_experts)
    assert (counts.sum(axis=1) == trace.n_tokens * trace.info.top_k).all()
    stats = trace_stats(trace)
    json.dumps(stats, allow_nan=False)
    assert 0 <= stats["mean"]["gini"] < 1
    assert stats["mean"]["hottest_over_mean"] >= 1


def test_renaming_experts_changes_no_figure() -> None:
    trace = make_trace([40, 30], n_experts=16, top_k=3)
    renamed = np.random.default_rng(0).permutation(16).astype(np.int16)[trace.experts]
    other = Trace(trace.info, trace.sequence, trace.position, trace.phase, renamed)
    assert trace_stats(other)["mean"] == pytest.approx(trace_stats(trace)["mean"])


def real_trace(name: str) -> Trace:
    path = REAL / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"reference traces are not here: {path}")
    about = json.loads((REAL / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(path, allow_pickle=False) as arrays:
        order = np.lexsort((arrays["position"], arrays["sequence"]))
        sequence = arrays["sequence"][order].astype(np.uint32)
        position = arrays["position"][order].astype(np.uint32)
        experts = np.ascontiguousarray(arrays["experts"][order], np.int16)
        phase = arrays["phase"][order] if "phase" in arrays else np.zeros(len(order))
    info = TraceInfo(about["model"], about["num_experts"], about["top_k"], tuple(about["layers"]))
    return Trace(info, sequence, position, phase.astype(np.uint8), experts)


@pytest.mark.parametrize(
    ("name", "shape", "n_sequences"),
    [
        ("dsv2lite_puffin_0001_0600", (55918, 26, 6), 599),
        ("gptoss20b_gpqa", (20859, 24, 4), 50),
        ("qwen15moe_gsm8k_batch25", (3521, 5, 4), 25),
        ("flame290m_mb8x256", (2048, 8, 6), 8),
    ],
)
def test_real_traces_survive_the_format_and_repeat_more_than_chance(
    name: str, shape: tuple[int, int, int], n_sequences: int, tmp_path: Path
) -> None:
    trace = real_trace(name)
    write_trace(tmp_path / "t.parquet", trace)
    back = read_trace(tmp_path / "t.parquet")
    assert np.array_equal(back.experts, trace.experts)
    stats = trace_stats(back)
    assert (stats["n_tokens"], stats["n_layers"], stats["top_k"]) == shape
    assert stats["n_sequences"] == n_sequences
    assert stats["mean"]["reuse_frac"] > stats["mean"]["reuse_chance_frac"]


def test_gpt_oss_repeats_half_of_its_choices() -> None:
    """Published for fine-grained models, gpt-oss-20b among them: 46 to 50 %."""
    stats = trace_stats(real_trace("gptoss20b_gpqa"))
    assert 0.40 < stats["mean"]["reuse_frac"] < 0.55
