"""Rule `sm`, products: tiles, co-resident CTAs and waves over streaming multiprocessors.

A kernel is cut into CTAs, one output tile each. As many CTAs as shared memory holds run together on
an SM and share its tensor cores; the machine full of them is a wave. Each wave takes the longer of
its compute time (tensor cores, or the L2 that feeds them) and its memory time; a partly filled last
wave costs a whole tile's time. All functions return seconds.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from ndpsim.gpu.kernel import (
    l2_bytes_per_s,
    latency_s,
    launch_s,
    memory_bytes_per_s,
    overlapped_s,
    small_s,
)
from ndpsim.gpu.spec import GpuSpec
from ndpsim.units import ceil_div
from ndpsim.workload.operators import Gemm, GroupedGemm

Tile = tuple[int, int]

GEMM_TILES: Final = (
    (16, 32), (16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128),
    (128, 64), (128, 128), (128, 256), (256, 128),
)  # fmt: skip
"""(tile_m, tile_n) that vendors' 16-bit libraries ship, smallest first."""
EIGHT_BIT_TILES: Final = ((64, 64), (64, 128), (128, 128), (128, 256))
"""The same of quantized GEMM libraries (CUTLASS, as in vLLM's scaled_mm)."""
FOUR_BIT_TILES: Final = ((128, 128), (128, 256))
"""The same with block-scaled 4-bit operands, whose instructions are 128 rows high."""
GROUPED_TILES: Final = (
    (16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128), (128, 128), (128, 256)
)  # fmt: skip
"""The same of grouped kernels."""
TILE_K: Final = 64
"""Depth of one pipeline stage, in 16-bit elements: 128 bytes of a row."""
STAGES: Final = 3
"""Pipeline stages of shared memory per CTA."""
MAX_CTAS_PER_SM: Final = 4
"""The register file holds no more CTAs of 128 threads with 128 registers each."""
L2_REUSE_FRAC: Final = 0.5
"""Share of L2 that an operand may fill and still be there for the next wave; the rest streams."""


def gemm_s(gpu: GpuSpec, sm_flop: float, gemm: Gemm, resident_bytes: int = 0) -> float:
    """A GEMM with the best tile and split-K of its library; weights partly in L2 already.

    Libraries for narrow activations ship few tiles and do not split k. A weight-only format streams
    its stored bytes, pays `dequant_flop` per weight and CTA on the vector units, and computes at
    the activation's rate.
    """
    held = min(resident_bytes, gemm.weight_bytes)
    floor_s = (gemm.n_bytes - held) / (gpu.memory_bandwidth * gpu.memory_frac) + latency_s(gpu)
    best_s = float("inf")
    for tile in _tiles(gemm):
        cut = _cut(gpu, sm_flop, gemm, tile)
        if cut.n_tiles * cut.column_s * gemm.k / gpu.sms >= best_s:
            continue  # even perfectly spread over the SMs it is slower
        streamed = _gemm_dram_bytes(gpu, gemm, tile, gpu.sms * cut.resident) - held
        for split_k in _split_ks(gpu, cut.n_tiles, gemm):
            depth = ceil_div(ceil_div(gemm.k, split_k), TILE_K) * TILE_K
            seconds = _waves_s(gpu, cut, cut.n_tiles * split_k, depth, streamed)
            best_s = min(best_s, seconds + _reduce_s(gpu, gemm, split_k))
        if best_s <= floor_s:
            break  # at memory speed; no tile does better
    return launch_s(gpu) + best_s


def grouped_s(gpu: GpuSpec, sm_flop: float, gemm: GroupedGemm, resident_bytes: int = 0) -> float:
    """One kernel over all experts with the best tile height that the library ships; no split-K.

    Tokens of an expert are padded to whole tiles; the tiles of all experts share the waves. The
    small kernels that come with it are charged here.
    """
    held = min(resident_bytes, gemm.weight_bytes)
    streamed = float(gemm.n_bytes - held)
    best_s = float("inf")
    most = max(gemm.tokens)
    lowest = gpu.grouped_tile_m if gemm.activation.bits <= 4 else GROUPED_TILES[0][0]
    for tile in GROUPED_TILES:
        tile_m, tile_n = tile
        if tile_m < lowest or lowest < tile_m >= 2 * most:
            continue
        columns = ceil_div(gemm.n, tile_n)
        n_tiles = columns * sum(ceil_div(rows, tile_m) for rows in gemm.tokens)
        cut = _cut(gpu, sm_flop * gpu.grouped_frac, gemm, tile, n_tiles)
        best_s = min(best_s, _waves_s(gpu, cut, n_tiles, gemm.k, streamed))
    return launch_s(gpu) + gpu.grouped_helpers * small_s(gpu) + best_s


class _Cut(NamedTuple):
    """A product cut into output tiles."""

    n_tiles: int
    column_s: float
    """SM time of a tile per step of k."""
    stage_bytes: float
    """What a CTA has under way while it computes."""
    resident: int
    """CTAs that share an SM."""


def _tiles(gemm: Gemm) -> Iterable[Tile]:
    """Tiles of the library for the operands' width, none much higher than the product."""
    bits = gemm.activation.bits
    tiles = GEMM_TILES if bits > 8 else EIGHT_BIT_TILES if bits > 4 else FOUR_BIT_TILES
    lowest = tiles[0][0]
    return (tile for tile in tiles if tile[0] == lowest or tile[0] < 2 * gemm.m)


def _cut(
    gpu: GpuSpec,
    sm_flop: float,
    gemm: Gemm | GroupedGemm,
    tile: Tile,
    n_tiles: int | None = None,
) -> _Cut:
    tile_m, tile_n = tile
    row_bytes = tile_m * gemm.activation.bits / 8  # of both operands, per step of k
    row_bytes += tile_n * (gemm.weight.bits + _scale_bits(gemm)) / 8
    stage_bytes = STAGES * TILE_K * row_bytes * 16 / gemm.activation.bits
    resident = max(1, min(MAX_CTAS_PER_SM, int(gpu.l1_capacity // stage_bytes)))
    tensor = 2 * tile_m * tile_n / sm_flop
    if gemm.weight.bits < gemm.activation.bits:
        dequant_flop = gpu.format_dequant_flop.get(gemm.weight.name, gpu.dequant_flop)
        tensor += tile_n * dequant_flop / gpu.vector_flop
    l2 = row_bytes * (1 + 1 / gpu.cluster) / 2 * gpu.sms / gpu.l2_bytes
    if n_tiles is None:
        assert isinstance(gemm, Gemm)
        n_tiles = ceil_div(gemm.m, tile_m) * ceil_div(gemm.n, tile_n)
    return _Cut(n_tiles, max(tensor, l2) / gpu.clock, stage_bytes, resident)


def _scale_bits(gemm: Gemm | GroupedGemm) -> float:
    return gemm.weight.scale_bits / gemm.weight.group if gemm.weight.group else 0.0


def _split_ks(gpu: GpuSpec, n_tiles: int, gemm: Gemm) -> tuple[int, ...]:
    """No split, and the splits that just fill the machine once and twice."""
    if gemm.activation.bits <= 8:
        return (1,)
    most = max(1, gemm.k // (STAGES * TILE_K))
    once, twice = (min(most, gpu.sms * fill // n_tiles) for fill in (1, 2))
    return tuple(dict.fromkeys((1, max(1, once), max(1, twice))))


def _waves_s(gpu: GpuSpec, cut: _Cut, n_ctas: int, depth: int, dram_bytes: float) -> float:
    """Full waves and the tail, each the longer of compute and memory, after its first load."""
    cta_s = cut.column_s * depth
    wave_ctas = gpu.sms * cut.resident
    n_full, tail = divmod(n_ctas, wave_ctas)
    # With several CTAs on an SM, one loads its first tiles while another computes.
    exposed = n_full + (tail > 0) if cut.resident == 1 else 1
    seconds = exposed * latency_s(gpu)
    for n_waves, n_together in ((n_full, wave_ctas), (1, tail)):
        if n_waves and n_together:
            per_sm = ceil_div(n_together, gpu.sms)
            n_sms = min(n_together, gpu.sms)
            rate = memory_bytes_per_s(gpu, n_sms, per_sm * cut.stage_bytes)
            memory_s = dram_bytes * n_together / n_ctas / rate
            seconds += n_waves * overlapped_s(per_sm * cta_s, memory_s)
    return seconds


def _gemm_dram_bytes(gpu: GpuSpec, gemm: Gemm, tile: Tile, wave_ctas: int) -> float:
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
    return traffic_bytes / l2_bytes_per_s(gpu) + latency_s(gpu)
