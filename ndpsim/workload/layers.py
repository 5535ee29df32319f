"""Operators of a decoder layer and of a step's ends, with their bytes.

A step feeds `n_query` new tokens of each of `batch` sequences; `context` counts the tokens a
sequence then has, the new ones included. Prefill is one step with ``n_query == context``, decode
has one query.

What is fused into one operator: query, key and value projections; gate and up projections; the
residual sum and the norm that follows it. Vectors (norms, biases) ride along with the operator that
uses them and are counted in memory only.
"""

from dataclasses import dataclass

from ndpsim.workload.operators import Attention, Elementwise, Format, Gemm, Operator
from ndpsim.workload.spec import GqaSpec, MlaSpec, ModelSpec

Operators = tuple[Operator, ...]

NORM_FLOP = 4
"""FLOP per element of a norm: square, sum, scale, weight (the residual sum is counted with it)."""
ROTARY_FLOP = 3
"""FLOP per rotated element: two products and a sum."""
SOFTMAX_FLOP = 5
"""FLOP per logit: maximum, difference, exponential, sum, quotient."""
ACTIVATION_FLOP = 5
"""FLOP per element of a gated activation: exponential, sum, quotient, two products."""


@dataclass(frozen=True, slots=True)
class Formats:
    """Number formats of the routed experts, all other weights, the KV cache and activations."""

    expert: Format
    weight: Format
    cache: Format
    activation: Format


@dataclass(frozen=True, slots=True)
class Step:
    """New tokens per sequence, and the tokens each sequence then has."""

    batch: int
    n_query: int
    context: int

    @property
    def n_tokens(self) -> int:
        """New tokens over the batch."""
        return self.batch * self.n_query


def attention_operators(
    model: ModelSpec, formats: Formats, step: Step, *, sliding: bool = False
) -> Operators:
    """The first half of a decoder layer, up to and including the norm before the feed-forward.

    `sliding` asks for a layer of `model.sliding_layers`, in which a query sees a window only.
    Latent attention with one query per sequence is absorbed: queries are mapped into the latent
    space and attend to the cached latents directly. With more queries, keys and values of the whole
    context are expanded first (DeepSeek-V2, arXiv 2405.04434, section 2.1.2 and appendix C).
    """
    attention = model.attention
    window = (model.sliding_window or 0) if sliding else 0
    if isinstance(attention, GqaSpec):
        middle = _gqa(model, attention, formats, step, window)
    elif step.n_query == 1:
        middle = _mla_absorbed(model, attention, formats, step)
    else:
        middle = _mla_expanded(model, attention, formats, step)
    return (
        norm_operator("input_norm", model.d_model, step.n_tokens, formats.activation),
        *middle,
        norm_operator("post_norm", model.d_model, step.n_tokens, formats.activation),
    )


def norm_operator(
    name: str, width: int, n_tokens: int, activation: Format, *, residual: bool = True
) -> Elementwise:
    """A norm over rows of `width`; with the residual it also reads and writes the running sum."""
    n = n_tokens * width * (2 if residual else 1)
    flop = NORM_FLOP * n_tokens * width + (n_tokens * width if residual else 0)
    return Elementwise(name, n_read=n, n_written=n, flop=flop, activation=activation)


def router_operators(model: ModelSpec, formats: Formats, n_tokens: int) -> Operators:
    """Router logits, their softmax and the choice of top_k: ids and weights are written."""
    logits = n_tokens * model.n_experts
    choose = Elementwise(
        "router_top_k",
        n_read=logits,
        n_written=2 * n_tokens * model.top_k,
        flop=SOFTMAX_FLOP * logits,
        activation=formats.activation,
    )
    return (_gemm("router", n_tokens, model.n_experts, model.d_model, formats), choose)


def expert_operators(
    model: ModelSpec, formats: Formats, n_tokens: int, n_columns: int | None = None
) -> Operators:
    """One routed expert over its tokens; `n_columns` of its width (default: all of d_expert)."""
    width = model.d_expert if n_columns is None else n_columns
    return _ffn("expert", model, n_tokens, width, formats.expert, formats.activation)


def shared_operators(model: ModelSpec, formats: Formats, n_tokens: int) -> Operators:
    """All shared experts of a layer as one feed-forward network; nothing if there are none."""
    if not model.d_shared:
        return ()
    ffn = _ffn("shared", model, n_tokens, model.d_shared, formats.weight, formats.activation)
    if not model.shared_gate:
        return ffn
    return (*ffn, _gemm("shared_gate", n_tokens, 1, model.d_model, formats))


def dense_operators(model: ModelSpec, formats: Formats, n_tokens: int) -> Operators:
    """The feed-forward network of a dense layer."""
    return _ffn("dense", model, n_tokens, model.d_dense, formats.weight, formats.activation)


def combine_operators(
    model: ModelSpec, formats: Formats, n_tokens: int, n_parts: int | None = None
) -> Operators:
    """The weighted sum of `n_parts` vectors per token (default: top_k, and the shared output)."""
    parts = model.top_k + bool(model.d_shared) if n_parts is None else n_parts
    n = n_tokens * model.d_model
    return (
        Elementwise("combine", parts * n, n, flop=2 * parts * n, activation=formats.activation),
    )


def embedding_operators(model: ModelSpec, formats: Formats, n_tokens: int) -> Operators:
    """Gather one row of the embedding table per token."""
    n = n_tokens * model.d_model
    return (Elementwise("embedding", n, n, flop=0, activation=formats.activation),)


def head_operators(model: ModelSpec, formats: Formats, n_tokens: int) -> Operators:
    """Final norm, output head and greedy choice, for the last token of each sequence only."""
    logits = n_tokens * model.vocab
    return (
        norm_operator("final_norm", model.d_model, n_tokens, formats.activation),
        _gemm("head", n_tokens, model.vocab, model.d_model, formats),
        Elementwise("sample", logits, n_tokens, flop=logits, activation=formats.activation),
    )


def _gemm(name: str, m: int, n: int, k: int, formats: Formats) -> Gemm:
    return Gemm(name, m, n, k, formats.weight, formats.activation)


def _ffn(
    name: str, model: ModelSpec, n_tokens: int, width: int, weight: Format, activation: Format
) -> Operators:
    up = 2 * width if model.gated else width
    return (
        Gemm(f"{name}_up", n_tokens, up, model.d_model, weight, activation),
        Elementwise(
            f"{name}_activation",
            n_read=n_tokens * up,
            n_written=n_tokens * width,
            flop=ACTIVATION_FLOP * n_tokens * width,
            activation=activation,
        ),
        Gemm(f"{name}_down", n_tokens, model.d_model, width, weight, activation),
    )


def _rotary(n_elements: int, activation: Format, flop: int = ROTARY_FLOP) -> Elementwise:
    return Elementwise("rotary", n_elements, n_elements, flop * n_elements, activation)


def _gqa(model: ModelSpec, gqa: GqaSpec, formats: Formats, step: Step, window: int) -> Operators:
    q, kv, tokens = gqa.n_heads * gqa.head_dim, gqa.n_kv_heads * gqa.head_dim, step.n_tokens
    per_element = ROTARY_FLOP + (NORM_FLOP if gqa.qk_norm != "none" else 0)
    return (
        _gemm("qkv", tokens, q + 2 * kv, model.d_model, formats),
        _rotary(tokens * (q + kv), formats.activation, per_element),
        Attention(
            "attention",
            step.batch,
            step.n_query,
            step.context,
            gqa.n_heads,
            gqa.n_kv_heads,
            gqa.head_dim,
            gqa.head_dim,
            gqa.cache_elements,
            formats.cache,
            formats.activation,
            window,
        ),
        _gemm("output", tokens, model.d_model, q, formats),
    )


def _mla_queries(model: ModelSpec, mla: MlaSpec, formats: Formats, tokens: int) -> Operators:
    q = mla.n_heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    if mla.q_lora_rank is None:
        return (_gemm("query", tokens, q, model.d_model, formats),)
    rank = mla.q_lora_rank
    return (
        _gemm("query_down", tokens, rank, model.d_model, formats),
        norm_operator("query_norm", rank, tokens, formats.activation, residual=False),
        _gemm("query_up", tokens, q, rank, formats),
    )


def _mla_front(model: ModelSpec, mla: MlaSpec, formats: Formats, tokens: int) -> Operators:
    """Queries, latent, norm of the latent, rotary part of queries and key."""
    return (
        *_mla_queries(model, mla, formats, tokens),
        _gemm("latent", tokens, mla.cache_elements, model.d_model, formats),
        norm_operator("latent_norm", mla.kv_lora_rank, tokens, formats.activation, residual=False),
        _rotary(tokens * (mla.n_heads + 1) * mla.qk_rope_head_dim, formats.activation),
    )


def _mla_absorbed(model: ModelSpec, mla: MlaSpec, formats: Formats, step: Step) -> Operators:
    """Attention in the latent space.

    The maps into and out of it are one small product per head, given as one product over all heads:
    its FLOP and weight bytes are exact, its input is counted for one head.
    """
    tokens, heads, rank = step.n_tokens, mla.n_heads, mla.kv_lora_rank
    return (
        *_mla_front(model, mla, formats, tokens),
        _gemm("absorb_query", tokens, heads * rank, mla.qk_nope_head_dim, formats),
        Attention(
            "attention",
            step.batch,
            step.n_query,
            step.context,
            heads,
            1,
            mla.cache_elements,
            rank,
            mla.cache_elements,
            formats.cache,
            formats.activation,
        ),
        _gemm("absorb_value", tokens, heads * mla.v_head_dim, rank, formats),
        _gemm("output", tokens, model.d_model, heads * mla.v_head_dim, formats),
    )


def _mla_expanded(model: ModelSpec, mla: MlaSpec, formats: Formats, step: Step) -> Operators:
    tokens, heads = step.n_tokens, mla.n_heads
    expanded = heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    return (
        *_mla_front(model, mla, formats, tokens),
        _gemm("expand", step.batch * step.context, expanded, mla.kv_lora_rank, formats),
        Attention(
            "attention",
            step.batch,
            step.n_query,
            step.context,
            heads,
            heads,
            mla.qk_nope_head_dim + mla.qk_rope_head_dim,
            mla.v_head_dim,
            expanded + mla.qk_rope_head_dim,
            formats.activation,
            formats.activation,
        ),
        _gemm("output", tokens, model.d_model, heads * mla.v_head_dim, formats),
    )
