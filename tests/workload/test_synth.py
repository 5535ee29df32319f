"""Synthetic routing keeps the laws of real routing and the statistics it was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.spec import load_preset
from ndpsim.workload.spec import ModelSpec
from ndpsim.workload.stats import loads, reuse
from ndpsim.workload.synth import SyntheticSpec, continue_routing, synthesize
from ndpsim.workload.trace import Trace, trace_digest, write_trace

from .test_models import small


@settings(deadline=None, max_examples=40)
@given(
    n_experts=st.integers(1, 12),
    top_k=st.integers(1, 12),
    alpha=st.sampled_from([1e-3, 0.1, 0.6, 10.0, 1e6]),
    reuse_frac=st.sampled_from([0.0, 0.5, 1.0]),
    n_sequences=st.integers(1, 3),
    n_tokens=st.integers(1, 70),
)
def test_every_token_chooses_top_k_different_experts(
    n_experts: int,
    top_k: int,
    alpha: float,
    reuse_frac: float,
    n_sequences: int,
    n_tokens: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = small(n_experts=n_experts, top_k=min(top_k, n_experts))
    spec = SyntheticSpec(request_alpha=alpha, reuse_frac=reuse_frac)
    trace = synthesize(model, spec, n_sequences=n_sequences, n_tokens=n_tokens, seed=1)
    write_trace(tmp_path_factory.mktemp("synth") / "t.parquet", trace)
    assert trace.experts.shape == (n_sequences * n_tokens, 3, model.top_k)
    assert trace.experts.min() >= 0
    counts = loads(trace.experts, n_experts)
    assert (counts.sum(axis=1) == trace.n_tokens * model.top_k).all()


def qwen(n_sequences: int, n_tokens: int, seed: int = 0) -> Trace:
    model = load_preset("model", "qwen3-30b-a3b", ModelSpec)
    return synthesize(model, SyntheticSpec(), n_sequences=n_sequences, n_tokens=n_tokens, seed=seed)


def test_a_seed_gives_the_same_trace_and_another_seed_another() -> None:
    assert trace_digest(qwen(2, 40)) == trace_digest(qwen(2, 40))
    assert trace_digest(qwen(2, 40)) != trace_digest(qwen(2, 40, seed=1))


def test_a_request_does_not_depend_on_how_many_others_there_are() -> None:
    few, many = qwen(2, 70), qwen(3, 70)
    assert np.array_equal(few.experts, many.experts[:140])


def test_defaults_have_the_skew_and_reuse_they_name() -> None:
    """Hottest expert 7.1 to 7.3 times the mean and reuse 0.46 to 0.50, as SyntheticSpec says."""
    experts = qwen(6, 512).experts.reshape(6, 512, 48, 8)
    counts = np.array([loads(e, 128) for e in experts])
    assert (counts.max(-1) / counts.mean(-1)).mean() == pytest.approx(7.2, abs=0.4)
    assert np.mean([reuse(e).mean() for e in experts]) == pytest.approx(0.48, abs=0.02)


def test_corpus_loads_are_more_even_than_those_of_one_request() -> None:
    experts = qwen(16, 64).experts
    corpus = loads(experts, 128)
    request = loads(experts[:64], 128)
    spread = [float((c.std(axis=1) / c.mean(axis=1)).mean()) for c in (corpus, request)]
    assert spread[0] < 0.6 * spread[1]


def test_a_synthetic_trace_says_so() -> None:
    info = qwen(1, 3).info
    assert info.synthetic
    assert info.provenance["seed"] == 0
    assert info.provenance["request_alpha"] == SyntheticSpec().request_alpha
    assert "synthetic" in str(info.provenance["about"])


def test_positions_from_the_prompt_on_are_decoded() -> None:
    trace = synthesize(small(), SyntheticSpec(), n_sequences=2, n_tokens=5, seed=0, prompt_tokens=3)
    assert trace.phase.tolist() == [0, 0, 0, 1, 1] * 2


def test_continued_routing_keeps_the_loads_and_reuse_of_the_sequence() -> None:
    real = qwen(1, 512).experts
    more = continue_routing(real, 128, 512, np.random.SeedSequence(0))
    assert reuse(more).mean() == pytest.approx(reuse(real).mean(), abs=0.03)
    a, b = loads(real, 128), loads(more, 128)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.9
