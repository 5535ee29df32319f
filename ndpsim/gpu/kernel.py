"""What every kernel pays: its launch, the way to memory, and what L2 already holds.

All functions return seconds or bytes per second.
"""

from ndpsim.gpu.spec import GpuSpec


def launch_s(gpu: GpuSpec) -> float:
    """Fixed cost of a kernel in the spec's launch mode."""
    fixed = {"none": gpu.launch_kernel, "graph": gpu.launch_graph, "eager": gpu.launch_eager}
    return fixed[gpu.launch] * 1e-12


def latency_s(gpu: GpuSpec) -> float:
    """From a load to its data."""
    return gpu.memory_latency * 1e-12


def memory_bytes_per_s(gpu: GpuSpec, n_sms: int, in_flight_bytes: float) -> float:
    """What `n_sms` SMs draw from memory with so many bytes under way each (Little's law)."""
    littles = n_sms * min(in_flight_bytes, gpu.bytes_in_flight) / latency_s(gpu)
    return min(gpu.memory_bandwidth * gpu.memory_frac, littles)


def l2_bytes_per_s(gpu: GpuSpec) -> float:
    """What all SMs together draw from L2."""
    return float(gpu.l2_bytes) * gpu.clock


def l2_hit_bytes(gpu: GpuSpec, reused_bytes: int) -> int:
    """How much of data read over and over is found in L2.

    All of it as long as it fits. Beyond, what a pass loads evicts what the next one needs first:
    each byte too many costs two, and twice the capacity is as good as none.
    """
    return max(0, min(reused_bytes, 2 * gpu.l2_capacity - reused_bytes))
