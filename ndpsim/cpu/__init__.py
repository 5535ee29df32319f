"""Host cores: what an operator costs when the CPU runs it."""

from ndpsim.cpu.cost import (
    compute_ps,
    flop_energy_fj,
    kernel_bytes_per_s,
    memory_bytes_per_s,
    operator_ps,
    peak_flop_per_s,
)
from ndpsim.cpu.spec import CpuSpec

__all__ = [
    "CpuSpec",
    "compute_ps",
    "flop_energy_fj",
    "kernel_bytes_per_s",
    "memory_bytes_per_s",
    "operator_ps",
    "peak_flop_per_s",
]
