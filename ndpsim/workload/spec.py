"""What a Mixture-of-Experts model and a number format are, as data.

Counts of parameters follow from the dimensions. "Expert parameters" are the matrices of the routed
experts; their biases, where a model has them, are counted with the rest of the model.
"""

from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ndpsim.spec.model import Count, CountOrZero, Spec
from ndpsim.workload.operators import Format

MAX_LAYERS: Final = 2**16
"""A trace counts layers in 16 bits."""
MAX_EXPERTS: Final = 2**15 - 1
"""A trace counts experts in 16 bits, signed."""

LayerIndices = Annotated[tuple[CountOrZero, ...], Field(strict=False)]
"""Decoder-layer indices, counted from 0, ascending."""


class FormatSpec(Spec):
    """A number format: bits of an element, and of the scale a group of elements shares."""

    preset_kind: ClassVar[str | None] = "format"

    name: str = Field(min_length=1)
    bits: Count
    """Bits per element."""
    group: CountOrZero = 0
    """Elements that share a scale; 0: none."""
    scale_bits: CountOrZero = 0
    """Bits per scale (and zero point, if any)."""

    @model_validator(mode="after")
    def _scale_needs_a_group(self) -> Self:
        if bool(self.group) != bool(self.scale_bits):
            raise ValueError("group and scale_bits go together: give both or neither")
        return self

    def format(self) -> Format:
        """The format as a value that operators carry."""
        return Format(self.name, self.bits, self.group, self.scale_bits)


class GqaSpec(Spec):
    """Grouped-query attention; multi-head attention when n_kv_heads equals n_heads."""

    kind: Literal["gqa"] = "gqa"
    n_heads: Count
    n_kv_heads: Count
    head_dim: Count
    """Elements of a query, key or value per head; times n_heads it may differ from d_model."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    """Norm of queries and keys: one weight per element of a head, or of all heads."""
    sinks: bool = False
    """One learned logit per head that joins the softmax."""

    @model_validator(mode="after")
    def _heads_share_evenly(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}"
            )
        return self

    @property
    def cache_elements(self) -> int:
        """Elements a token leaves in the KV cache of one layer."""
        return 2 * self.n_kv_heads * self.head_dim

    def matrix_params(self, d_model: int) -> tuple[int, ...]:
        """Elements of the query-key-value and output projections."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        return (d_model * (q + 2 * kv), q * d_model)

    def vector_params(self, d_model: int) -> int:
        """Elements of biases, norms and sinks."""
        q, kv = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        norm = {"none": 0, "head": 2 * self.head_dim, "full": q + kv}[self.qk_norm]
        bias = self.qkv_bias * (q + 2 * kv) + self.output_bias * d_model
        return norm + bias + self.sinks * self.n_heads


class MlaSpec(Spec):
    """Multi-head latent attention: the cache holds one latent and one rotary key per token.

    Source: DeepSeek-V2, arXiv 2405.04434, section 2.1.
    """

    kind: Literal["mla"]
    n_heads: Count
    kv_lora_rank: Count
    """Elements of the latent from which keys and values are expanded."""
    q_lora_rank: Count | None = None
    """Elements of the query latent; absent: queries are projected directly."""
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count

    @property
    def cache_elements(self) -> int:
        """Elements a token leaves in the KV cache of one layer."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    def matrix_params(self, d_model: int) -> tuple[int, ...]:
        """Elements of the query, latent, expansion and output projections."""
        q = self.n_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        if self.q_lora_rank is None:
            queries: tuple[int, ...] = (d_model * q,)
        else:
            queries = (d_model * self.q_lora_rank, self.q_lora_rank * q)
        kv = self.n_heads * (self.qk_nope_head_dim + self.v_head_dim)
        output = self.n_heads * self.v_head_dim * d_model
        return (*queries, d_model * self.cache_elements, self.kv_lora_rank * kv, output)

    def vector_params(self, d_model: int) -> int:
        """Elements of the norms on the latents."""
        return self.kv_lora_rank + (self.q_lora_rank or 0)


AttentionSpec: TypeAlias = Annotated[GqaSpec | MlaSpec, Field(discriminator="kind")]


class ModelSpec(Spec):
    """Dimensions of a decoder-only Mixture-of-Experts model."""

    preset_kind: ClassVar[str | None] = "model"

    name: str = Field(min_length=1)
    n_layers: Count = Field(le=MAX_LAYERS)
    """Decoder layers, dense ones included."""
    d_model: Count
    vocab: Count
    tied_embeddings: bool = False
    """The output head is the embedding table."""
    attention: AttentionSpec

    n_experts: Count = Field(le=MAX_EXPERTS)
    """Routed experts per MoE layer."""
    top_k: Count
    """Routed experts per token."""
    d_expert: Count
    """Width of a routed expert."""
    n_shared_experts: CountOrZero = 0
    d_shared: CountOrZero = 0
    """Width of all shared experts of a layer together."""
    shared_gate: bool = False
    """A learned gate scales the shared experts' output."""
    gated: bool = True
    """Feed-forward networks have three matrices (gate, up, down), not two."""
    expert_bias: bool = False
    router_bias: bool = False

    dense_layers: LayerIndices = ()
    """Layers with one dense feed-forward network instead of experts."""
    d_dense: CountOrZero = 0

    norm_bias: bool = False
    head_bias: bool = False
    sliding_window: Count | None = None
    """Tokens a query sees in `sliding_layers`, itself included."""
    sliding_layers: LayerIndices = ()

    @model_validator(mode="after")
    def _dimensions_agree(self) -> Self:
        if self.top_k > self.n_experts:
            raise ValueError(f"top_k {self.top_k} exceeds n_experts {self.n_experts}")
        if bool(self.n_shared_experts) != bool(self.d_shared):
            raise ValueError("n_shared_experts and d_shared go together: give both or neither")
        if bool(self.dense_layers) and not self.d_dense:
            raise ValueError("dense_layers need d_dense")
        if bool(self.sliding_layers) != bool(self.sliding_window):
            raise ValueError("sliding_window and sliding_layers go together: give both or neither")
        for name in ("dense_layers", "sliding_layers"):
            layers: tuple[int, ...] = getattr(self, name)
            if list(layers) != sorted(set(layers)) or (layers and layers[-1] >= self.n_layers):
                raise ValueError(f"{name} must ascend and be less than n_layers {self.n_layers}")
        if len(self.dense_layers) == self.n_layers:
            raise ValueError("every layer is dense; a Mixture-of-Experts model has MoE layers")
        return self

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Decoder-layer indices that have experts."""
        dense = set(self.dense_layers)
        return tuple(layer for layer in range(self.n_layers) if layer not in dense)

    @property
    def n_moe_layers(self) -> int:
        """Layers that have experts."""
        return self.n_layers - len(self.dense_layers)

    @property
    def n_matrices(self) -> int:
        """Matrices of one feed-forward network."""
        return 3 if self.gated else 2

    @property
    def expert_params(self) -> int:
        """Elements of the matrices of one routed expert."""
        return self.n_matrices * self.d_model * self.d_expert

    @property
    def shared_params(self) -> int:
        """Elements of the matrices of one layer's shared experts."""
        return self.n_matrices * self.d_model * self.d_shared

    @property
    def dense_params(self) -> int:
        """Elements of the matrices of one dense feed-forward network."""
        return self.n_matrices * self.d_model * self.d_dense

    @property
    def routed_params(self) -> int:
        """Elements of the matrices of all routed experts."""
        return self.n_moe_layers * self.n_experts * self.expert_params

    @property
    def embedding_params(self) -> int:
        """Elements of the embedding table."""
        return self.vocab * self.d_model

    @property
    def vector_params(self) -> int:
        """Elements of all norms and biases; an expert's biases are here, not in `expert_params`."""
        norm = self.d_model * (2 if self.norm_bias else 1)
        layer = 2 * norm + self.attention.vector_params(self.d_model)
        expert = (self.n_matrices - 1) * self.d_expert + self.d_model
        moe = self.expert_bias * self.n_experts * expert + self.router_bias * self.n_experts
        return self.n_layers * layer + norm + self.n_moe_layers * moe + self.head_bias * self.vocab

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(elements, how many of it) of every matrix outside the routed experts."""
        n, moe = self.n_layers, self.n_moe_layers
        attention = tuple((size, n) for size in self.attention.matrix_params(self.d_model))
        width = self.d_model
        return (
            *attention,
            (width * self.n_experts, moe),
            (width * self.d_shared, moe * self.n_matrices),
            (width, moe * self.shared_gate),
            (width * self.d_dense, len(self.dense_layers) * self.n_matrices),
            (self.embedding_params, 1 if self.tied_embeddings else 2),
        )

    @property
    def non_expert_params(self) -> int:
        """Elements of everything but the matrices of the routed experts."""
        return sum(size * n for size, n in self.matrices) + self.vector_params

    @property
    def total_params(self) -> int:
        """Elements of the whole model."""
        return self.non_expert_params + self.routed_params

    @property
    def active_params(self) -> int:
        """Elements one token uses; embedding table and head are counted whole.

        Published counts differ in this: some leave the embedding table out.
        """
        idle = self.n_experts - self.top_k
        bias = self.expert_bias * ((self.n_matrices - 1) * self.d_expert + self.d_model)
        return self.total_params - self.n_moe_layers * idle * (self.expert_params + bias)

    @property
    def cache_elements(self) -> int:
        """Elements a token leaves in the KV cache of one layer."""
        return self.attention.cache_elements
