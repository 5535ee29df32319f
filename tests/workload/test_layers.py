"""Operators add up to the parameters a token uses, and their bytes to the bytes of the weights."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.spec import load_preset, preset_names
from ndpsim.workload.layers import (
    Formats,
    Operators,
    Step,
    attention_operators,
    combine_operators,
    dense_operators,
    embedding_operators,
    expert_operators,
    head_operators,
    router_operators,
    shared_operators,
)
from ndpsim.workload.memory import (
    expert_bytes,
    expert_flop,
    expert_slice_bytes,
    kv_cache_bytes,
    non_expert_bytes,
    workspace_bytes,
)
from ndpsim.workload.operators import Attention, Format, Gemm
from ndpsim.workload.spec import ModelSpec

FP16 = Format("fp16", 16)
INT4 = Format("int4", 4, 128, 16)
ALL_FP16 = Formats(FP16, FP16, FP16, FP16)


@pytest.fixture(params=preset_names("model"))
def model(request: pytest.FixtureRequest) -> ModelSpec:
    return load_preset("model", request.param, ModelSpec)


@st.composite
def models(draw: st.DrawFn) -> ModelSpec:
    size = st.integers(1, 40)
    n_layers = draw(st.integers(1, 5))
    n_experts = draw(st.integers(1, 9))
    dense = draw(st.sets(st.integers(0, n_layers - 1), max_size=n_layers - 1))
    attention: dict[str, Any]
    if draw(st.booleans()):
        kv = draw(st.integers(1, 3))
        heads = kv * draw(st.integers(1, 3))
        attention = {"kind": "gqa", "n_heads": heads, "n_kv_heads": kv, "head_dim": draw(size)}
    else:
        names = ("n_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        attention = {"kind": "mla", **{name: draw(size) for name in names}}
        attention["q_lora_rank"] = draw(st.none() | size)
    shared = draw(st.booleans())
    return ModelSpec.model_validate(
        {
            "name": "drawn",
            "n_layers": n_layers,
            "d_model": draw(size),
            "vocab": draw(size),
            "attention": attention,
            "n_experts": n_experts,
            "top_k": draw(st.integers(1, n_experts)),
            "d_expert": draw(size),
            "n_shared_experts": int(shared),
            "d_shared": draw(size) if shared else 0,
            "shared_gate": shared and draw(st.booleans()),
            "gated": draw(st.booleans()),
            "dense_layers": sorted(dense),
            "d_dense": draw(size) if dense else 0,
        }
    )


def token_operators(model: ModelSpec, step: Step, formats: Formats) -> Operators:
    """Everything a step does, each routed expert on its own."""
    tokens = step.n_tokens
    operators = [*embedding_operators(model, formats, tokens)]
    for layer in range(model.n_layers):
        sliding = layer in model.sliding_layers
        operators += attention_operators(model, formats, step, sliding=sliding)
        if layer in model.dense_layers:
            operators += dense_operators(model, formats, tokens)
            continue
        operators += router_operators(model, formats, tokens)
        operators += shared_operators(model, formats, tokens)
        for _ in range(model.top_k):
            operators += expert_operators(model, formats, tokens)
        operators += combine_operators(model, formats, tokens)
    return (*operators, *head_operators(model, formats, step.batch))


def matrix_flop(operators: Operators) -> int:
    return sum(op.flop for op in operators if isinstance(op, Gemm))


@given(model=models(), batch=st.integers(1, 4), context=st.integers(1, 50))
def test_a_decoded_token_costs_two_flop_per_matrix_parameter_it_uses(
    model: ModelSpec, batch: int, context: int
) -> None:
    gemms = matrix_flop(token_operators(model, Step(batch, 1, context), ALL_FP16))
    used = model.active_params - model.vector_params - model.embedding_params
    assert gemms == 2 * batch * used


@given(model=models(), batch=st.integers(1, 3), tokens=st.integers(2, 9))
def test_prefill_costs_two_flop_per_matrix_parameter_but_one_head_per_sequence(
    model: ModelSpec, batch: int, tokens: int
) -> None:
    gemms = matrix_flop(token_operators(model, Step(batch, tokens, tokens), ALL_FP16))
    used = model.active_params - model.vector_params - 2 * model.embedding_params
    assert gemms == 2 * batch * (tokens * used + model.embedding_params)


def test_weights_read_by_a_decoded_token_are_the_weights_in_memory(model: ModelSpec) -> None:
    operators = token_operators(model, Step(1, 1, 7), ALL_FP16)
    read = sum(op.weight_bytes for op in operators if isinstance(op, Gemm))
    held = non_expert_bytes(model, ALL_FP16) + model.n_moe_layers * model.top_k * expert_bytes(
        model, FP16
    )
    assert read == held - FP16.bytes_for(model.vector_params + model.embedding_params)


@given(model=models(), n_tokens=st.integers(0, 99), cut=st.integers(0, 40))
def test_slices_of_an_expert_add_up(model: ModelSpec, n_tokens: int, cut: int) -> None:
    left = min(cut, model.d_expert)
    parts = (left, model.d_expert - left)
    assert sum(expert_slice_bytes(model, FP16, n) for n in parts) == expert_bytes(model, FP16)
    whole = expert_flop(model, n_tokens)
    assert sum(expert_flop(model, n_tokens, n) for n in parts) == whole
    assert matrix_flop(expert_operators(model, ALL_FP16, n_tokens)) == whole
    assert expert_slice_bytes(model, INT4, 128) <= expert_slice_bytes(model, FP16, 128)


def pairs(context: int, n_query: int, window: int) -> int:
    seen = range(context - n_query + 1, context + 1)
    return sum(min(n, window) if window else n for n in seen)


@given(
    context=st.integers(1, 40),
    n_query=st.integers(1, 40),
    window=st.integers(0, 45),
    batch=st.integers(1, 3),
)
def test_attention_counts_the_pairs_a_causal_window_allows(
    context: int, n_query: int, window: int, batch: int
) -> None:
    n_query = min(n_query, context)
    op = Attention("a", batch, n_query, context, 4, 2, 8, 6, 28, FP16, FP16, window)
    assert op.n_scores == batch * 4 * pairs(context, n_query, window)
    assert op.flop == 2 * 14 * op.n_scores
    assert op.n_tokens_read == len(
        {
            token
            for last in range(context - n_query, context)
            for token in range(max(0, last + 1 - window) if window else 0, last + 1)
        }
    )


def test_latent_attention_reads_only_the_latent_cache_in_decode() -> None:
    model = load_preset("model", "deepseek-v2-lite", ModelSpec)
    (decode,) = (
        op
        for op in attention_operators(model, ALL_FP16, Step(2, 1, 100))
        if isinstance(op, Attention)
    )
    assert decode.cache_bytes == 2 * 100 * 576 * 2
    (prefill,) = (
        op
        for op in attention_operators(model, ALL_FP16, Step(2, 100, 100))
        if isinstance(op, Attention)
    )
    assert (prefill.head_dim_qk, prefill.head_dim_v, prefill.n_kv_heads) == (192, 128, 16)


def test_a_sliding_layer_reads_its_window() -> None:
    model = load_preset("model", "gpt-oss-20b", ModelSpec)
    step = Step(1, 1, 1000)
    full, sliding = (
        next(
            op
            for op in attention_operators(model, ALL_FP16, step, sliding=s)
            if isinstance(op, Attention)
        )
        for s in (False, True)
    )
    assert (full.cache_bytes, sliding.cache_bytes) == (1000 * 2048, 128 * 2048)
    assert kv_cache_bytes(model, FP16, 1, 1000) == 12 * (1000 + 128) * 2048


def test_kv_cache_and_workspace_of_qwen3() -> None:
    """Cache: 48 layers x 1024 elements; workspace: residual, input, 8 results, 3 x 768 inner."""
    model = load_preset("model", "qwen3-30b-a3b", ModelSpec)
    assert kv_cache_bytes(model, FP16, 1, 1023) == 1023 * 48 * 1024 * 2
    assert workspace_bytes(model, ALL_FP16, 1, 512) == 512 * (10 * 2048 + 3 * 768) * 2
    assert workspace_bytes(model, ALL_FP16, 1, 1) == 151936 * 2
    assert non_expert_bytes(model, ALL_FP16) + 48 * 128 * expert_bytes(model, FP16) == (
        2 * model.total_params
    )


@given(model=models(), batch=st.integers(1, 4), context=st.integers(1, 9))
def test_operators_are_equal_and_hash_alike_for_equal_steps(
    model: ModelSpec, batch: int, context: int
) -> None:
    first, second = (token_operators(model, Step(batch, 1, context), ALL_FP16) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert all(op.n_bytes > 0 for op in first)
