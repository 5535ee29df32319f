"""GPU: streaming multiprocessors, tiles and waves; what an operator costs."""

from ndpsim.gpu.cost import flop_energy_fj, memory_bytes_per_s, operator_ps, peak_flop_per_s
from ndpsim.gpu.spec import AttAccRule, GpuSpec

__all__ = [
    "AttAccRule",
    "GpuSpec",
    "flop_energy_fj",
    "memory_bytes_per_s",
    "operator_ps",
    "peak_flop_per_s",
]
