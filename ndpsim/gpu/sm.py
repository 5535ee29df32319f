"""Rule `sm`: what each kind of operator takes, in seconds, by tiles and waves over SMs."""

from typing import Final

from ndpsim.gpu.attention import attention_s, decode_s
from ndpsim.gpu.gemm import gemm_s, grouped_s
from ndpsim.gpu.kernel import l2_bytes_per_s, memory_bytes_per_s, small_s
from ndpsim.gpu.spec import GpuSpec
from ndpsim.workload.operators import Elementwise

__all__ = ["attention_s", "decode_s", "elementwise_s", "gemm_s", "grouped_s"]

ROW_FRAC: Final = 0.65
"""Share of memory's and of L2's rate that row-wise kernels reach: each row waits for its own sum or
index before it writes. Fitted over norms, activations and rotary embeddings of all tables."""


def elementwise_s(gpu: GpuSpec, operator: Elementwise, resident_bytes: int = 0) -> float:
    """A pass over memory, or over what L2 holds; small ones are launch and latency."""
    rate = memory_bytes_per_s(gpu, gpu.sms, gpu.bytes_in_flight) * ROW_FRAC
    l2_rate = l2_bytes_per_s(gpu) * ROW_FRAC
    compute_s = operator.flop / (gpu.vector_flop * gpu.sms * gpu.clock)
    held = min(resident_bytes, operator.n_bytes)
    memory_s = (operator.n_bytes - held) / rate + held / l2_rate
    return small_s(gpu) + max(memory_s, compute_s)
