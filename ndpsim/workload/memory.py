"""Bytes a model needs: weights, KV cache and the largest working set of a step."""

from ndpsim.workload.layers import Formats
from ndpsim.workload.operators import Format
from ndpsim.workload.spec import GqaSpec, ModelSpec


def expert_slice_bytes(model: ModelSpec, expert: Format, n_columns: int) -> int:
    """Weight bytes of `n_columns` of one routed expert's width.

    A slice is `n_columns` rows of d_model of the gate and up matrices and as many columns of the
    down matrix; each matrix slice is stored on its own, so group scales round up per matrix.
    """
    return model.n_matrices * expert.bytes_for(n_columns * model.d_model)


def expert_bytes(model: ModelSpec, expert: Format) -> int:
    """Weight bytes of one routed expert."""
    return expert_slice_bytes(model, expert, model.d_expert)


def expert_flop(model: ModelSpec, n_tokens: int, n_columns: int | None = None) -> int:
    """FLOP of the matrices of one routed expert (or `n_columns` of its width) over its tokens."""
    width = model.d_expert if n_columns is None else n_columns
    return 2 * n_tokens * model.n_matrices * model.d_model * width


def non_expert_bytes(model: ModelSpec, formats: Formats) -> int:
    """Bytes of everything but the routed experts' matrices.

    Matrices are in `formats.weight`; norms, biases and sinks in `formats.activation`.
    """
    matrices = sum(n * formats.weight.bytes_for(size) for size, n in model.matrices)
    return matrices + formats.activation.bytes_for(model.vector_params)


def kv_cache_bytes(model: ModelSpec, cache: Format, batch: int, n_tokens: int) -> int:
    """KV cache of `batch` sequences of `n_tokens`, in bytes; sliding layers keep their window."""
    n_sliding = len(model.sliding_layers)
    kept = min(n_tokens, model.sliding_window or n_tokens)
    tokens = (model.n_layers - n_sliding) * n_tokens + n_sliding * kept
    return cache.bytes_for(batch * tokens * model.cache_elements)


def workspace_bytes(model: ModelSpec, formats: Formats, batch: int, n_query: int) -> int:
    """Bytes of the largest set of activations that live at once in a step.

    The largest of these, in `formats.activation`; layers and phases reuse the same memory:

    attention
        residual, queries, keys and values (expanded, for latent attention) and attention output of
        all new tokens; scores are never stored (fused attention).
    experts
        residual, normed input, one result per token and routed expert, and the gate, up and
        activated vectors of all tokens in the widest network of the layer.
    dense
        residual, normed input, output, and the gate, up and activated vectors.
    head
        logits of the last token of each sequence.
    """
    width = model.d_model
    tokens = batch * n_query
    inner = model.n_matrices
    widest = max(model.d_expert, model.d_shared)
    results = model.top_k + bool(model.d_shared)
    per_token = [
        width + _attention_elements(model),
        2 * width + results * width + inner * widest,
        3 * width + inner * model.d_dense if model.dense_layers else 0,
    ]
    return formats.activation.bytes_for(max(tokens * max(per_token), batch * model.vocab))


def _attention_elements(model: ModelSpec) -> int:
    a = model.attention
    if isinstance(a, GqaSpec):
        return 2 * a.n_heads * a.head_dim + a.cache_elements
    queries = a.n_heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
    expanded = a.n_heads * (a.qk_nope_head_dim + a.v_head_dim)
    return queries + a.cache_elements + expanded + a.n_heads * a.v_head_dim
