"""What every kernel pays: its launch, the way to memory, and what L2 already holds.

All functions return seconds or bytes per second.
"""

from typing import Final

from ndpsim.gpu.spec import GpuSpec


def launch_s(gpu: GpuSpec) -> float:
    """Fixed cost of a kernel in the spec's launch mode."""
    fixed = {"none": gpu.launch_kernel, "graph": gpu.launch_graph, "eager": gpu.launch_eager}
    return fixed[gpu.launch] * 1e-12


def latency_s(gpu: GpuSpec) -> float:
    """From a load to its data."""
    return gpu.memory_latency * 1e-12


ROW_TRIPS: Final = 2
"""Trips to memory of a row-wise kernel that nothing hides: in, and back for a second pass."""


def small_s(gpu: GpuSpec) -> float:
    """A row-wise kernel that moves next to nothing."""
    return launch_s(gpu) + ROW_TRIPS * latency_s(gpu)


def memory_bytes_per_s(gpu: GpuSpec, n_sms: int, in_flight_bytes: float) -> float:
    """What `n_sms` SMs draw from memory with so many bytes under way each (Little's law)."""
    littles = n_sms * min(in_flight_bytes, gpu.bytes_in_flight) / latency_s(gpu)
    return min(gpu.memory_bandwidth * gpu.memory_frac, littles)


def l2_bytes_per_s(gpu: GpuSpec) -> float:
    """What all SMs together draw from L2."""
    return float(gpu.l2_bytes) * gpu.clock


def l2_hit_bytes(gpu: GpuSpec, reused_bytes: int) -> int:
    """How much of data read over and over is found in L2.

    All of it as long as it fits; where L2 has partitions, each keeps a copy of what its SMs read.
    Beyond, what a pass loads evicts what the next one needs first: each byte too many costs two,
    and twice the capacity is as good as none.
    """
    return max(0, min(reused_bytes, 2 * gpu.l2_capacity // gpu.l2_copies - reused_bytes))


OVERLAP_POWER: Final = 3
"""Power of the norm that joins compute and memory time."""


def overlapped_s(compute_s: float, memory_s: float) -> float:
    """Time of a wave whose tiles load while others compute.

    The longer one where they differ, and up to a quarter more where they are alike: neither side is
    ever idle for the other's sake only in the limit.
    """
    longer, shorter = max(compute_s, memory_s), min(compute_s, memory_s)
    if longer == 0.0:
        return 0.0
    norm: float = (1.0 + (shorter / longer) ** OVERLAP_POWER) ** (1.0 / OVERLAP_POWER)
    return longer * norm
