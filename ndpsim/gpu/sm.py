"""Rule `sm`: tiles, co-resident CTAs and waves over streaming multiprocessors.

A kernel is cut into CTAs, one output tile each. As many CTAs as shared memory holds run together on
an SM and share its tensor cores; the machine full of them is a wave. Each wave takes the longer of
its compute time (tensor cores, or the L2 that feeds them) and its memory time; a partly filled last
wave costs a whole tile's time. Tile and split-K are the fastest of a fixed list, as a library's
heuristic would choose. All functions return seconds.
"""

from math import ceil
from typing import Final, NamedTuple

from ndpsim.gpu.spec import GpuSpec
from ndpsim.units import ceil_div
from ndpsim.workload.operators import Attention, Elementwise, Gemm

GEMM_TILES: Final = (
    (16, 32), (16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128),
    (128, 64), (128, 128), (128, 256), (256, 128),
)  # fmt: skip
"""(tile_m, tile_n) that tensor-core GEMM libraries ship, smallest first."""
TILE_K: Final = 64
"""Depth of one pipeline stage, in elements."""
STAGES: Final = 3
"""Pipeline stages of shared memory per CTA."""
MAX_CTAS_PER_SM: Final = 4
"""The register file holds no more CTAs of 128 threads with 128 registers each."""
L2_REUSE_FRAC: Final = 0.5
"""Share of L2 that an operand may fill and still be there for the next wave; the rest streams."""
QUERY_TILE: Final = 128
"""Query rows of one CTA in prefill attention."""
DECODE_ROWS: Final = 16
"""Rows of the smallest tensor-core instruction: decode queries are padded to it."""
KV_CHUNK: Final = 128
"""Fewest cached tokens worth a CTA of their own in decode attention."""
SOFTMAX_FLOP: Final = 6
"""Vector FLOP per score: scale, mask, running maximum, subtraction, sum, rescale."""


def launch_s(gpu: GpuSpec) -> float:
    """Fixed cost of a kernel in the spec's launch mode."""
    return (gpu.launch_graph if gpu.launch == "graph" else gpu.launch_eager) * 1e-12


def _memory_bytes_per_s(gpu: GpuSpec, n_sms: int, in_flight_bytes: float) -> float:
    """What `n_sms` SMs draw from memory with so many bytes under way each (Little's law)."""
    littles = n_sms * min(in_flight_bytes, gpu.bytes_in_flight) / (gpu.memory_latency * 1e-12)
    return min(gpu.memory_bandwidth * gpu.memory_frac, littles)


def gemm_s(gpu: GpuSpec, sm_flop: int, gemm: Gemm) -> float:
    """A GEMM with the best tile and split-K of the list.

    A weight-only format streams its stored bytes, pays `dequant_flop` per weight and CTA on the
    vector units, and computes at the activation's rate.
    """
    latency_s = gpu.memory_latency * 1e-12
    floor_s = gemm.n_bytes / (gpu.memory_bandwidth * gpu.memory_frac) + latency_s
    best_s = float("inf")
    for tile in GEMM_TILES:
        if GEMM_TILES[0][0] < tile[0] >= 2 * gemm.m:
            continue
        kernel = _tiled(gpu, sm_flop, gemm, tile)
        if kernel.n_tiles * kernel.column_s * gemm.k / gpu.sms >= best_s:
            continue  # even perfectly spread over the SMs it is slower
        for split_k in _split_ks(gpu, kernel.n_tiles, gemm.k):
            best_s = min(best_s, _split_s(gpu, gemm, kernel, split_k))
        if best_s <= floor_s:
            break  # at memory speed; no tile does better
    return launch_s(gpu) + best_s


class _Tiled(NamedTuple):
    """A GEMM cut into output tiles."""

    n_tiles: int
    column_s: float
    """SM time of a tile per step of k."""
    stage_bytes: float
    """What a CTA has under way while it computes."""
    resident: int
    """CTAs that share an SM."""
    dram_bytes: float


def _tiled(gpu: GpuSpec, sm_flop: int, gemm: Gemm, tile: tuple[int, int]) -> _Tiled:
    tile_m, tile_n = tile
    row_bytes = tile_m * gemm.activation.bits / 8  # of both operands, per step of k
    row_bytes += tile_n * gemm.weight_bytes / (gemm.n * gemm.k)
    stage_bytes = STAGES * TILE_K * row_bytes
    resident = max(1, min(MAX_CTAS_PER_SM, int(gpu.l1_capacity // stage_bytes)))
    tensor = 2 * tile_m * tile_n / (sm_flop * gpu.tensor_frac)
    if gemm.weight != gemm.activation:
        tensor += tile_n * gpu.dequant_flop / gpu.vector_flop
    l2 = row_bytes * gpu.sms / gpu.l2_bytes
    return _Tiled(
        n_tiles=ceil_div(gemm.m, tile_m) * ceil_div(gemm.n, tile_n),
        column_s=max(tensor, l2) / gpu.clock,
        stage_bytes=stage_bytes,
        resident=resident,
        dram_bytes=_gemm_dram_bytes(gpu, gemm, tile, gpu.sms * resident),
    )


def _split_ks(gpu: GpuSpec, n_tiles: int, k: int) -> tuple[int, ...]:
    """No split, and the splits that just fill the machine once and twice."""
    most = max(1, k // (STAGES * TILE_K))
    once, twice = (min(most, gpu.sms * fill // n_tiles) for fill in (1, 2))
    return tuple(dict.fromkeys((1, max(1, once), max(1, twice))))


def _split_s(gpu: GpuSpec, gemm: Gemm, kernel: _Tiled, split_k: int) -> float:
    depth = ceil_div(ceil_div(gemm.k, split_k), TILE_K) * TILE_K
    waves_s = _waves_s(gpu, kernel, kernel.n_tiles * split_k, kernel.column_s * depth)
    return waves_s + _reduce_s(gpu, gemm, split_k)


def _waves_s(gpu: GpuSpec, kernel: _Tiled, n_ctas: int, cta_s: float) -> float:
    """Full waves and the tail, each the longer of compute and memory, after its first load."""
    latency_s = gpu.memory_latency * 1e-12
    wave_ctas = gpu.sms * kernel.resident
    n_full, tail = divmod(n_ctas, wave_ctas)
    # With several CTAs on an SM, one loads its first tiles while another computes.
    exposed = n_full + (tail > 0) if kernel.resident == 1 else 1
    seconds = exposed * latency_s
    for n_waves, n_together in ((n_full, wave_ctas), (1, tail)):
        if n_waves and n_together:
            per_sm = ceil_div(n_together, gpu.sms)
            n_sms = min(n_together, gpu.sms)
            rate = _memory_bytes_per_s(gpu, n_sms, per_sm * kernel.stage_bytes)
            memory_s = kernel.dram_bytes * n_together / n_ctas / rate
            seconds += n_waves * max(per_sm * cta_s, memory_s)
    return seconds


def _gemm_dram_bytes(gpu: GpuSpec, gemm: Gemm, tile: tuple[int, int], wave_ctas: int) -> float:
    """Device memory traffic: compulsory, unless neither operand stays in L2 from wave to wave."""
    a_bytes = gemm.activation.bytes_for(gemm.m * gemm.k)
    if min(a_bytes, gemm.weight_bytes) <= gpu.l2_capacity * L2_REUSE_FRAC:
        return gemm.n_bytes
    grid_m, grid_n = ceil_div(gemm.m, tile[0]), ceil_div(gemm.n, tile[1])
    # A wave covers rows x columns of tiles; the squarest block re-reads least.
    rows = min(grid_m, max(1, round((wave_ctas * tile[1] / tile[0]) ** 0.5)))
    columns = min(grid_n, max(1, wave_ctas // rows))
    a_passes, w_passes = ceil_div(grid_n, columns), ceil_div(grid_m, rows)
    return gemm.n_bytes + (a_passes - 1) * a_bytes + (w_passes - 1) * gemm.weight_bytes


def _reduce_s(gpu: GpuSpec, gemm: Gemm, split_k: int) -> float:
    """Partial sums (fp32) written to L2 and read back once; nothing without a split."""
    if split_k == 1:
        return 0.0
    traffic_bytes = 2 * 4 * split_k * gemm.m * gemm.n
    return traffic_bytes / (gpu.l2_bytes * gpu.clock) + gpu.memory_latency * 1e-12


def attention_s(gpu: GpuSpec, sm_flop: int, attention: Attention) -> float:
    """Fused attention: by query tiles in prefill, by split KV in decode."""
    group = attention.n_heads // attention.n_kv_heads
    if attention.n_query * group < QUERY_TILE:
        body_s = _decode_s(gpu, sm_flop, attention, group)
    else:
        body_s = _prefill_s(gpu, sm_flop, attention)
    return launch_s(gpu) + (gpu.memory_latency + gpu.attention_fixed) * 1e-12 + body_s


def _score_s(gpu: GpuSpec, sm_flop: int, attention: Attention, padding: float) -> float:
    """One SM's time per query-key pair: two products on tensor cores, then softmax beside them."""
    product = 2 * (attention.head_dim_qk + attention.head_dim_v) / (sm_flop * gpu.tensor_frac)
    softmax = 1 / gpu.exp_ops + SOFTMAX_FLOP / gpu.vector_flop
    return (product * padding + softmax) / gpu.clock


def _prefill_s(gpu: GpuSpec, sm_flop: int, attention: Attention) -> float:
    """Flash style: a CTA holds 128 query rows of a head and walks the keys it may see.

    Tiles on the causal diagonal are computed whole. CTAs differ in length and are handed out
    longest first, so the machine ends within one CTA of even.
    """
    n_ctas = attention.batch * attention.n_heads * ceil_div(attention.n_query, QUERY_TILE)
    score_s = _score_s(gpu, sm_flop, attention, 1.0)
    rows = attention.batch * attention.n_heads * attention.n_query
    masked = rows * QUERY_TILE / 2 * (2 if attention.window else 1)  # each edge of the mask
    pairs = attention.n_scores + masked
    seen = min(attention.context, (attention.window or attention.context) + QUERY_TILE)
    longest = min(attention.n_query, QUERY_TILE) * seen
    compute_s = score_s * max(pairs / gpu.sms, longest, pairs / n_ctas * ceil(n_ctas / gpu.sms))
    n_sms = min(n_ctas, gpu.sms)
    memory_s = attention.n_bytes / _memory_bytes_per_s(gpu, n_sms, gpu.bytes_in_flight)
    return max(compute_s, memory_s)


def _decode_s(gpu: GpuSpec, sm_flop: int, attention: Attention, group: int) -> float:
    """Split KV: every SM streams a part of the cache; the parts are merged at the end."""
    n_heads = attention.batch * attention.n_kv_heads
    most = max(1, attention.n_tokens_read // KV_CHUNK)
    n_splits = min(most, max(1, gpu.sms // n_heads))
    n_ctas = n_heads * n_splits
    n_query = attention.n_query * group
    rows = ceil_div(n_query, DECODE_ROWS) * DECODE_ROWS
    tokens = ceil_div(attention.n_tokens_read, n_splits)
    score_s = _score_s(gpu, sm_flop, attention, rows / n_query)
    compute_s = ceil_div(n_ctas, gpu.sms) * n_query * tokens * score_s
    n_sms = min(n_ctas, gpu.sms)
    memory_s = attention.n_bytes / _memory_bytes_per_s(gpu, n_sms, gpu.bytes_in_flight)
    return max(compute_s, memory_s)


def elementwise_s(gpu: GpuSpec, operator: Elementwise) -> float:
    """A pass over memory; small ones are launch and latency."""
    rate = _memory_bytes_per_s(gpu, gpu.sms, gpu.bytes_in_flight)
    compute_s = operator.flop / (gpu.vector_flop * gpu.sms * gpu.clock)
    body_s = max(operator.n_bytes / rate, compute_s)
    return launch_s(gpu) + gpu.memory_latency * 1e-12 + body_s
