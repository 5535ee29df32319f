"""Operators of a transformer layer: what each computes and moves.

Shapes only: no device, no time. One multiply-accumulate is 2 FLOP. Byte counts are compulsory
traffic: every operand read once, every result written once.
"""

from dataclasses import dataclass
from typing import TypeAlias

from ndpsim.units import ceil_div


@dataclass(frozen=True, slots=True)
class Format:
    """A number format: bits per element, plus a scale shared by a group of elements (0: none)."""

    name: str
    bits: int
    group: int = 0
    scale_bits: int = 0

    def bytes_for(self, n_elements: int) -> int:
        """Bytes of `n_elements` with their group scales, rounded up to whole bytes."""
        n_scales = ceil_div(n_elements, self.group) if self.group else 0
        return ceil_div(n_elements * self.bits + n_scales * self.scale_bits, 8)


@dataclass(frozen=True, slots=True)
class Gemm:
    """C[m, n] = A[m, k] x W[n, k]^T; W in format `weight`, A and C in format `activation`."""

    name: str
    m: int
    n: int
    k: int
    weight: Format
    activation: Format

    @property
    def flop(self) -> int:
        """2 m n k."""
        return 2 * self.m * self.n * self.k

    @property
    def weight_bytes(self) -> int:
        """Bytes of W."""
        return self.weight.bytes_for(self.n * self.k)

    @property
    def n_bytes(self) -> int:
        """W, A and C once each."""
        return self.weight_bytes + self.activation.bytes_for(self.m * (self.k + self.n))


@dataclass(frozen=True, slots=True)
class GroupedGemm:
    """One kernel over several experts: C_e[t_e, n] = A_e[t_e, k] x W_e[n, k]^T for each expert e.

    `tokens` are the rows t_e of the experts that have any; W in format `weight`, A and C in format
    `activation`.
    """

    name: str
    tokens: tuple[int, ...]
    n: int
    k: int
    weight: Format
    activation: Format

    @property
    def n_rows(self) -> int:
        """Rows over all experts."""
        return sum(self.tokens)

    @property
    def flop(self) -> int:
        """2 n k per row."""
        return 2 * self.n_rows * self.n * self.k

    @property
    def weight_bytes(self) -> int:
        """Bytes of W of every expert with a row."""
        return len(self.tokens) * self.weight.bytes_for(self.n * self.k)

    @property
    def n_bytes(self) -> int:
        """W, A and C once each."""
        return self.weight_bytes + self.activation.bytes_for(self.n_rows * (self.k + self.n))


def _triangle(n: int) -> int:
    """1 + 2 + ... + n."""
    return n * (n + 1) // 2


@dataclass(frozen=True, slots=True)
class Attention:
    """Scaled dot-product attention over the KV cache.

    `n_query` new tokens in each of `batch` sequences attend causally to `context` tokens (which
    include the new ones). A key has `head_dim_qk` elements, a value `head_dim_v`; `cache_elements`
    are what the cache holds per token (all KV heads; for MLA the latent and the rotary key).
    """

    name: str
    batch: int
    n_query: int
    context: int
    n_heads: int
    n_kv_heads: int
    head_dim_qk: int
    head_dim_v: int
    cache_elements: int
    cache: Format
    activation: Format
    window: int = 0

    @property
    def n_scores(self) -> int:
        """Query-key pairs under the causal mask and the window, over all heads."""
        pairs = _triangle(self.context) - _triangle(self.context - self.n_query)
        if self.window:
            cut = max(0, self.context - self.window)
            pairs -= _triangle(cut) - _triangle(max(0, cut - self.n_query))
        return self.batch * self.n_heads * pairs

    @property
    def n_tokens_read(self) -> int:
        """Tokens of the cache that some query of a sequence sees."""
        if not self.window:
            return self.context
        return min(self.context, self.window + self.n_query - 1)

    @property
    def flop(self) -> int:
        """2 (head_dim_qk + head_dim_v) per query-key pair; softmax is not counted."""
        return 2 * self.n_scores * (self.head_dim_qk + self.head_dim_v)

    @property
    def cache_bytes(self) -> int:
        """Bytes of the KV cache that is read."""
        return self.cache.bytes_for(self.batch * self.n_tokens_read * self.cache_elements)

    @property
    def n_bytes(self) -> int:
        """Cache, queries and outputs once each."""
        per_token = self.n_heads * (self.head_dim_qk + self.head_dim_v)
        return self.cache_bytes + self.activation.bytes_for(self.batch * self.n_query * per_token)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A pass over memory with little arithmetic: norm, activation, rotary, softmax, sum, gather."""

    name: str
    n_read: int
    n_written: int
    flop: int
    activation: Format

    @property
    def n_bytes(self) -> int:
        """Elements read and written, once each."""
        return self.activation.bytes_for(self.n_read + self.n_written)


Operator: TypeAlias = Gemm | GroupedGemm | Attention | Elementwise
