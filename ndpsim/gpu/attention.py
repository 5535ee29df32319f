"""Rule `sm`, fused attention: query tiles in prefill, split KV in decode. Seconds throughout."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.gpu.kernel import (
    l2_bytes_per_s,
    latency_s,
    launch_s,
    memory_bytes_per_s,
)
from ndpsim.gpu.spec import GpuSpec
from ndpsim.units import ceil_div
from ndpsim.workload.operators import Attention

KV_CHUNK: Final = 128
"""Fewest cached tokens worth a CTA of their own in decode attention."""
SPLIT_BELOW_FRAC: Final = 0.8
"""Decode splits the cache if sequences x heads leave more SMs than this idle (FlashAttention)."""
CTAS_PER_SM: Final = 2
"""CTAs of decode attention that share an SM; splitting aims at as many."""
CTA_TRIPS: Final = 5
"""Dependent trips to memory in a CTA outside its stream: length, page, query, key, way out."""


def attention_s(
    gpu: GpuSpec, sm_flop: float, attention: Attention, resident_bytes: int = 0
) -> float:
    """Fused attention: one query per sequence is decode, more are prefill."""
    if attention.n_query == 1:
        contexts = np.array([attention.context], dtype=np.int64)
        return float(decode_s(gpu, sm_flop, attention, contexts, resident_bytes)[0])
    return _prefill_s(gpu, sm_flop, attention, resident_bytes)


def _prefill_s(gpu: GpuSpec, sm_flop: float, attention: Attention, resident_bytes: int) -> float:
    """Flash style: a CTA holds some query rows of a head and walks the keys it may see.

    Rows are padded to whole tiles, tiles on the causal diagonal are computed whole. CTAs of equal
    length run in waves; causal ones differ and are handed out longest first, so that the machine
    ends within one CTA of even. One CTA fills an SM: its trips to memory, its queries in and its
    results out are not hidden behind another's arithmetic.
    """
    rows = gpu.attention_rows
    n_tiles = ceil_div(attention.n_query, rows)
    past = attention.context - attention.n_query
    seen = min(attention.context, (attention.window or attention.context) + rows)
    keys = (n_tiles - 1) * past + rows * n_tiles * (n_tiles - 1) // 2 + attention.context
    keys = min(keys, n_tiles * seen)  # of all tiles of a head
    heads = attention.batch * attention.n_heads
    key_s = rows * _score_s(gpu, sm_flop, attention)
    waves = ceil_div(heads * n_tiles, gpu.sms)
    shortest = min(seen, past + rows)
    even = max(heads * keys / gpu.sms, waves * shortest, seen)
    n_sms = min(heads * n_tiles, gpu.sms)
    held = min(attention.n_bytes, resident_bytes)
    rate = memory_bytes_per_s(gpu, n_sms, gpu.bytes_in_flight)
    memory_s = (attention.n_bytes - held) / rate + held / l2_bytes_per_s(gpu)
    start_s = waves * CTA_TRIPS * latency_s(gpu)
    return launch_s(gpu) + gpu.attention_fixed * 1e-12 + start_s + key_s * even + memory_s


def _score_s(gpu: GpuSpec, sm_flop: float, attention: Attention) -> float:
    """One SM's time per query-key pair: two products and what shows of the exponential between."""
    product = 2 * (attention.head_dim_qk + attention.head_dim_v) / (sm_flop * gpu.attention_frac)
    return (product + gpu.softmax_frac / gpu.exp_ops) / gpu.clock


def decode_s(
    gpu: GpuSpec,
    sm_flop: float,
    attention: Attention,
    contexts: NDArray[np.int64],
    resident_bytes: int = 0,
) -> NDArray[np.float64]:
    """Split KV: every SM streams a part of the cache, a second kernel merges the parts.

    The queries of a KV head share a tile, padded to `decode_rows`; CTAs in excess of the SMs run in
    waves, and each starts with trips to memory that only a neighbour on its SM hides.

    Parameters
    ----------
    contexts
        (n,) tokens of the cache, in place of `attention.context`.
    resident_bytes
        Bytes of the cache that L2 holds already.

    Returns
    -------
        (n,) seconds.
    """
    tokens = np.minimum(contexts, attention.window) if attention.window else contexts
    cache_bytes = _cache_bytes(attention, tokens)
    per_token = attention.n_heads * (attention.head_dim_qk + attention.head_dim_v)
    other_bytes = attention.activation.bytes_for(attention.batch * per_token)

    heads = attention.batch * attention.n_kv_heads
    full = heads >= SPLIT_BELOW_FRAC * gpu.sms
    room = 1 if full else max(1, CTAS_PER_SM * gpu.sms // heads)
    n_blocks = -(-tokens // KV_CHUNK)
    n_splits = -(-n_blocks // -(-n_blocks // np.minimum(n_blocks, room)))  # of whole blocks
    n_ctas = heads * n_splits
    group = attention.n_heads // attention.n_kv_heads
    rows = ceil_div(group, gpu.decode_rows) * gpu.decode_rows
    chunk = np.minimum(tokens, -(-n_blocks // n_splits) * KV_CHUNK)
    waves = -(-n_ctas // gpu.sms)
    compute_s = waves * chunk * (rows * _score_s(gpu, sm_flop, attention))
    start_s = -(-n_ctas // (CTAS_PER_SM * gpu.sms)) * (CTA_TRIPS * latency_s(gpu))

    n_sms = np.minimum(n_ctas, gpu.sms)
    littles = n_sms * (gpu.bytes_in_flight / latency_s(gpu))
    rate = np.minimum(gpu.memory_bandwidth * gpu.memory_frac, littles)
    held = np.minimum(cache_bytes, resident_bytes)
    memory_s = (cache_bytes - held + other_bytes) / rate + held / l2_bytes_per_s(gpu)
    part_s = gpu.attention_merge * 1e-12
    merge_s = np.where(n_splits > 1, launch_s(gpu) + latency_s(gpu) + n_splits * part_s, 0.0)
    fixed_s = launch_s(gpu) + gpu.attention_fixed * 1e-12
    seconds = fixed_s + start_s + merge_s + np.maximum(compute_s, memory_s)
    return np.asarray(seconds, dtype=np.float64)


def _cache_bytes(attention: Attention, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """`attention.cache_bytes` with so many tokens read."""
    elements = attention.batch * tokens * attention.cache_elements
    n_scales = -(-elements // attention.cache.group) if attention.cache.group else 0
    bits = elements * attention.cache.bits + n_scales * attention.cache.scale_bits
    return np.asarray(-(-bits // 8), dtype=np.int64)
