"""Norms, activations, rotary embeddings and the like as the kernels that measured them ran them."""

from collections.abc import Callable
from typing import Final, NamedTuple

from ndpsim.errors import ConfigError, unknown
from ndpsim.workload.operators import Elementwise, Format

FP32: Final = Format("fp32", 32)
BYTES: Final = Format("bytes", 8)


class Shape(NamedTuple):
    """Dimensions of a model that norms and activations need."""

    d_model: int
    d_ffn: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    vocab: int


SHAPES: Final = {
    "Llama-2-7b-hf": Shape(4096, 11008, 32, 32, 128, 32000),
    "Meta-Llama-3-8B": Shape(4096, 14336, 32, 8, 128, 128256),
    "Llama-3.1-8B": Shape(4096, 14336, 32, 8, 128, 128256),
    "Llama-3.1-70B": Shape(8192, 28672, 64, 8, 128, 128256),
    "Meta-Llama-3-70B": Shape(8192, 28672, 64, 8, 128, 128256),
    "Llama-2-70b-hf": Shape(8192, 28672, 64, 8, 128, 32000),
    "CodeLlama-34b-Instruct-hf": Shape(8192, 22016, 64, 8, 128, 32000),
    "Mistral-7B-v0.1": Shape(4096, 14336, 32, 8, 128, 32000),
    "Mixtral-8x7B-v0.1": Shape(4096, 14336, 32, 8, 128, 32000),
    "Phi-mini-MoE-instruct": Shape(4096, 960, 32, 8, 128, 32064),
    "Qwen3-30B-A3B-Instruct-2507": Shape(2048, 768, 32, 4, 128, 151936),
    "Qwen3-32B": Shape(5120, 25600, 64, 8, 128, 151936),
    "Qwen3-8B": Shape(4096, 12288, 32, 8, 128, 151936),
    "Qwen2.5-7B": Shape(3584, 18944, 28, 4, 128, 152064),
    "phi-2": Shape(2560, 10240, 32, 32, 80, 51200),
    "internlm-20b": Shape(5120, 13824, 40, 40, 128, 103168),
    "Llama-3.2-1B": Shape(2048, 8192, 32, 8, 64, 128256),
    "Llama-3.2-3B": Shape(3072, 8192, 24, 8, 128, 128256),
    "Mixtral-8x22B-v0.1": Shape(6144, 16384, 48, 8, 128, 32768),
    "Qwen2.5-32B": Shape(5120, 27648, 40, 8, 128, 152064),
    "Qwen3-4B": Shape(2560, 9728, 32, 8, 128, 151936),
    "Qwen3-14B": Shape(5120, 17408, 40, 8, 128, 151936),
    "Qwen-72B": Shape(8192, 24576, 64, 64, 128, 151936),
}
"""From the models' config.json on Hugging Face."""

Kernels = tuple[Elementwise, ...]


def elementwise_kernels(
    layer: str, framework: str, m: int, n: int | None, tp: int, wide: Format
) -> Kernels:
    """The kernels of one elementwise layer over `m` tokens.

    Parameters
    ----------
    layer
        ``model:name`` as the tables have it, or ``softmax``, ``layernorm``.
    framework
        Hugging Face layers run one kernel per arithmetic step, serving engines fuse.
    n
        Elements per token where the table states them.

    Raises
    ------
    ConfigError
        Unknown layer or model.
    """
    model, _, name = layer.rpartition(":")
    if not model:
        return _bare(name, m, n or 0, wide)
    if model not in SHAPES:
        raise unknown("layer", "model", model, SHAPES)
    shape = SHAPES[model]
    shape = shape._replace(
        d_ffn=shape.d_ffn // tp,
        n_heads=shape.n_heads // tp,
        n_kv_heads=max(1, shape.n_kv_heads // tp),
        vocab=shape.vocab // tp,
    )
    layers = _EAGER if framework.startswith("pytorch") else _FUSED
    for suffix, kernels in layers.items():
        if name.endswith(suffix):
            return kernels(m, shape, wide, model)
    raise ConfigError("layer", f"no kernels known for '{name}'")


def _pass(n: int, read: float, written: float, flop: int = 2) -> Elementwise:
    """A kernel over `n` elements that reads and writes so many bytes of each."""
    return Elementwise("pass", round(n * read), round(n * written), flop * n, BYTES)


def _bare(name: str, m: int, n: int, wide: Format) -> Kernels:
    """One row-wise kernel of PyTorch, read once and written once."""
    if name not in ("softmax", "layernorm", "rmsnorm", "gelu", "silu"):
        raise ConfigError("layer", f"no kernels known for '{name}'")
    return (_pass(m * n, wide.bits / 8, wide.bits / 8, 5),)


def _norm(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """Fused: the residual sum is read and written with it."""
    return (_pass(m * shape.d_model, wide.bits / 4, wide.bits / 4, 5),)


def _head_norm(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """Norms of queries and keys: two kernels."""
    b = wide.bits / 8
    return tuple(
        _pass(m * heads * shape.head_dim, b, b, 4) for heads in (shape.n_heads, shape.n_kv_heads)
    )


def _activation(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """Gate and up in, product out."""
    return (_pass(m * shape.d_ffn, wide.bits / 4, wide.bits / 8, 5),)


def _rotary(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    b = wide.bits / 8
    return (_pass(m * (shape.n_heads + shape.n_kv_heads) * shape.head_dim, b, b, 3),)


def _add(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    return (_pass(m * shape.d_model, wide.bits / 4, wide.bits / 8, 1),)


def _embedding(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    b = wide.bits / 8
    return (_pass(m * shape.d_model, b, b, 0),)


def _sampler(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """Logits widened, the largest found, its id copied twice (greedy)."""
    n = m * shape.vocab
    return (_pass(n, wide.bits / 8, 4), _pass(n, 4, 0, 1), _pass(m, 8, 8), _pass(m, 8, 8))


def _eager_norm(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """LlamaRMSNorm: widen, square, mean, add, root, scale, narrow, weight; LayerNorm is one."""
    n, b = m * shape.d_model, wide.bits / 8
    if model.startswith("Phi"):
        return (_pass(n, b, b, 5),)
    return (
        _pass(n, b, 4), _pass(n, 4, 4), _pass(n, 4, 0), _pass(m, 4, 4), _pass(m, 4, 4),
        _pass(n, 4, 4), _pass(n, 4, b), _pass(n, b, b),
    )  # fmt: skip


def _eager_activation(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """The function, then the product with up."""
    n, b = m * shape.d_ffn, wide.bits / 8
    return _pass(n, b, b, 4), _pass(n, 2 * b, b, 1)


def _eager_rotary(m: int, shape: Shape, wide: Format, model: str) -> Kernels:
    """For queries and keys: times cosine, negate half, join, times sine, add."""
    b, kernels = wide.bits / 8, []
    for heads in (shape.n_heads, shape.n_kv_heads):
        n = m * heads * shape.head_dim
        kernels += [_pass(n, b, b), _pass(n, b / 2, b / 2), _pass(n, b, b), _pass(n, b, b)]
        kernels += [_pass(n, 2 * b, b)]
    return tuple(kernels)


_Builder = Callable[[int, Shape, Format, str], Kernels]

_FUSED: Final[dict[str, _Builder]] = {
    "qk_norm": _head_norm,
    "layernorm": _norm,
    "mlp_act": _activation,
    "act_fn": _activation,
    "rope": _rotary,
    "rotary_emb": _rotary,
    "add": _add,
    "embedding": _embedding,
    "emb": _embedding,
    "sampler": _sampler,
}
_EAGER: Final[dict[str, _Builder]] = {
    "layernorm": _eager_norm,
    "act_fn": _eager_activation,
    "rope": _eager_rotary,
    "embedding": _embedding,
}
