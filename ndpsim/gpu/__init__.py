"""GPU: streaming multiprocessors, tiles and waves; what an operator costs."""

from ndpsim.gpu.cost import (
    decode_attention_ps,
    flop_energy_fj,
    memory_bytes_per_s,
    operator_ps,
    peak_flop_per_s,
)
from ndpsim.gpu.kernel import l2_hit_bytes
from ndpsim.gpu.spec import AttAccRule, GpuSpec

__all__ = [
    "AttAccRule",
    "GpuSpec",
    "decode_attention_ps",
    "flop_energy_fj",
    "l2_hit_bytes",
    "memory_bytes_per_s",
    "operator_ps",
    "peak_flop_per_s",
]
