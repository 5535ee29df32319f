"""Rule `attacc`: the GPU of the AttAcc simulator, which published results rest on.

Source: github.com/scale-snu/attacc_simulator, src/devices.py (`xPU`), commit c1540de. A product
takes the longer of 2mnk / (peak x 0.80 u) and off-chip bytes / (bandwidth x 0.85 u), where u is the
share of SMs that whole waves of thread blocks keep busy; no launch cost, infinite L2 bandwidth.
Activation and norm layers are straight lines measured on an A100. Formats narrower than the
activation's, which AttAcc lacks, count their stored bytes. All functions return seconds.
"""

from collections import Counter
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.gpu.spec import GpuSpec
from ndpsim.units import ceil_div
from ndpsim.workload.operators import Attention, Elementwise, Gemm, GroupedGemm

TILES: Final = (8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512)
"""Candidate sides of a thread block's output tile."""
TILE_K: Final = 32
"""Depth of a thread block's tile."""
L2_TILES_K: Final = 64
"""An L2 tile is 1/64 of k deep."""


def gemm_s(gpu: GpuSpec, sm_flop: int, gemm: Gemm) -> float:
    """A fully connected layer."""
    a_bytes, w_bytes = gemm.activation.bits / 8, gemm.weight_bytes / (gemm.n * gemm.k)
    tile_m, tile_n, busy_frac = _l1_tile(gpu, gemm.m, gemm.n, gemm.k, a_bytes, w_bytes)
    dram_bytes = _off_chip_bytes(gpu, gemm, (tile_m, tile_n), a_bytes, w_bytes)
    return _roofline_s(gpu, sm_flop, gemm.flop, dram_bytes, busy_frac)


def grouped_s(gpu: GpuSpec, sm_flop: int, gemm: GroupedGemm) -> float:
    """One layer after the other; AttAcc has no grouped products."""
    alike = Counter(gemm.tokens)
    return sum(
        count * gemm_s(gpu, sm_flop, Gemm("", m, gemm.n, gemm.k, gemm.weight, gemm.activation))
        for m, count in alike.items()
    )


def _roofline_s(
    gpu: GpuSpec, sm_flop: int, flop: int, dram_bytes: float, busy_frac: float
) -> float:
    flop_per_s = sm_flop * gpu.sms * gpu.clock * gpu.attacc.compute_frac * busy_frac
    bytes_per_s = gpu.memory_bandwidth * gpu.attacc.memory_frac * busy_frac
    return max(flop / flop_per_s, dram_bytes / bytes_per_s)


def _busy_frac(n_blocks: int, n_sms: int) -> float:
    """Share of SMs that whole waves of thread blocks keep busy."""
    return n_blocks / (ceil_div(n_blocks, n_sms) * n_sms)


def _l1_tile(
    gpu: GpuSpec, m: int, n: int, k: int, a_bytes: float, w_bytes: float
) -> tuple[int, int, float]:
    """The tile with the least L2 traffic / u^2 that fits L1, and its u."""
    best, least = (min(TILES[0], m), min(TILES[0], n), 0.0), inf
    for tile_m in dict.fromkeys(min(t, m) for t in TILES):
        grid_m = ceil_div(m, tile_m)
        for tile_n in dict.fromkeys(min(t, n) for t in TILES):
            loads = (tile_m * a_bytes + tile_n * w_bytes) * TILE_K
            if loads + tile_m * tile_n * a_bytes > gpu.l1_capacity:
                continue
            grid_n = ceil_div(n, tile_n)
            busy_frac = _busy_frac(grid_m * grid_n, gpu.sms)
            traffic = grid_n * m * k * a_bytes + grid_m * n * k * w_bytes + m * n * a_bytes
            cost = traffic / busy_frac**2
            if cost < least:
                best, least = (tile_m, tile_n, busy_frac), cost
    return best


def _off_chip_bytes(
    gpu: GpuSpec, gemm: Gemm, l1_tile: tuple[int, int], a_bytes: float, w_bytes: float
) -> float:
    """Traffic of the best tile that fits L2: whole L1 tiles, or the whole side.

    Traffic falls and the footprint grows with either side, so for each height the widest tile that
    fits is the best one; the L1 tile itself is always allowed.
    """
    m, n, k = gemm.m, gemm.n, gemm.k
    depth = k / L2_TILES_K

    def traffic(tile_m: int, tile_n: int) -> float:
        w_reads, a_reads = ceil_div(m, tile_m), ceil_div(n, tile_n)
        return w_reads * n * k * w_bytes + a_reads * m * k * a_bytes + m * n * a_bytes

    best = traffic(*l1_tile)
    heights = [*range(l1_tile[0], m + 1, l1_tile[0]), m]
    for tile_m in heights:
        room = gpu.l2_capacity - tile_m * depth * a_bytes
        widest = int(room // (depth * w_bytes + tile_m * a_bytes))
        if widest >= n:
            best = min(best, traffic(tile_m, n))
        elif widest >= l1_tile[1]:
            best = min(best, traffic(tile_m, widest - widest % l1_tile[1]))
    return best


def attention_s(gpu: GpuSpec, sm_flop: int, attention: Attention) -> float:
    """Score product, softmax and context product, one thread block per sequence and head.

    AttAcc has no grouped queries: here keys and values come from memory once per KV head, which for
    ordinary multi-head attention is the same. Scores go through memory and no mask is skipped.
    """
    n_tokens = np.array([attention.n_tokens_read], dtype=np.int64)
    return float(_attention_s(gpu, sm_flop, attention, n_tokens)[0])


def decode_s(
    gpu: GpuSpec, sm_flop: int, attention: Attention, contexts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Seconds of `attention_s` at each context length (n,)."""
    n_tokens = np.minimum(contexts, attention.window) if attention.window else contexts
    return _attention_s(gpu, sm_flop, attention, n_tokens)


def _attention_s(
    gpu: GpuSpec, sm_flop: int, attention: Attention, n_tokens: NDArray[np.int64]
) -> NDArray[np.float64]:
    n_blocks = attention.batch * attention.n_heads
    busy_frac = _busy_frac(n_blocks, gpu.sms)
    flop_per_s = sm_flop * gpu.sms * gpu.clock * gpu.attacc.compute_frac * busy_frac
    bytes_per_s = gpu.memory_bandwidth * gpu.attacc.memory_frac * busy_frac
    q_bytes, kv_bytes = attention.activation.bits / 8, attention.cache.bits / 8
    n_scores = n_blocks * attention.n_query * n_tokens
    seconds = 2 * n_scores * q_bytes / bytes_per_s
    for head_dim in (attention.head_dim_qk, attention.head_dim_v):
        outer_bytes = n_blocks * attention.n_query * head_dim * q_bytes
        cached_bytes = attention.batch * attention.n_kv_heads * n_tokens * head_dim * kv_bytes
        dram_bytes = outer_bytes + cached_bytes + n_scores * q_bytes
        flop = 2.0 * n_scores * head_dim
        seconds = seconds + np.maximum(flop / flop_per_s, dram_bytes / bytes_per_s)
    return np.asarray(seconds, dtype=np.float64)


def elementwise_s(gpu: GpuSpec, operator: Elementwise) -> float:
    """Norm and activation layers by AttAcc's measured lines, anything else at memory speed.

    Which layer it is, its name says. Beyond some 20 MB the activation line outruns the memory
    itself; memory speed is kept as a floor, so that nothing beats the rates of the bound.
    """
    rule = gpu.attacc
    floor_s = operator.n_bytes / (gpu.memory_bandwidth * rule.memory_frac)
    scale = rule.reference_bandwidth / gpu.memory_bandwidth
    megabytes = operator.n_bytes / 1e6
    if "norm" in operator.name:
        line_ps = rule.norm_fixed + rule.norm_per_mb * scale * megabytes
    elif "activation" in operator.name:
        line_ps = rule.activation_fixed + rule.activation_per_mb * scale * megabytes
    else:
        line_ps = 0.0
    return max(floor_s, line_ps * 1e-12)
