"""What an operator costs on a GPU, by the rule its spec names; and the rates no operator beats."""

from math import ceil

from ndpsim.errors import ConfigError
from ndpsim.gpu import attacc, sm
from ndpsim.gpu.spec import GpuSpec
from ndpsim.memo import Memo
from ndpsim.workload.operators import Attention, Elementwise, Gemm, Operator


def operator_ps(memo: Memo, gpu: GpuSpec, operator: Operator) -> int:
    """Picoseconds of one operator with the whole GPU to itself, launch included.

    Never less than its FLOP at `peak_flop_per_s` or its compulsory bytes at `memory_bytes_per_s`.

    Raises
    ------
    ConfigError
        The GPU has no GEMM rate for the operator's activation format.
    """
    del memo  # leaf of the model: nothing below is worth remembering
    match operator:
        case Gemm():
            flop_per_s = _sm_flop(gpu, operator.activation.name)
            gemm = attacc.gemm_s if gpu.rule == "attacc" else sm.gemm_s
            seconds = gemm(gpu, flop_per_s, operator)
        case Attention():
            flop_per_s = _sm_flop(gpu, operator.activation.name)
            attention = attacc.attention_s if gpu.rule == "attacc" else sm.attention_s
            seconds = attention(gpu, flop_per_s, operator)
        case Elementwise():
            elementwise = attacc.elementwise_s if gpu.rule == "attacc" else sm.elementwise_s
            seconds = elementwise(gpu, operator)
    return ceil(seconds * 1e12)


def _sm_flop(gpu: GpuSpec, format_name: str) -> int:
    """Dense GEMM FLOP per cycle and SM."""
    try:
        return gpu.matrix_flop[format_name]
    except KeyError:
        known = ", ".join(sorted(gpu.matrix_flop))
        raise ConfigError(
            "gpu.matrix_flop", f"no GEMM rate for format '{format_name}'; this GPU has: {known}"
        ) from None


def peak_flop_per_s(gpu: GpuSpec, format_name: str) -> int:
    """The highest FLOP rate any GEMM or attention reaches, under the GPU's rule."""
    frac = gpu.attacc.compute_frac if gpu.rule == "attacc" else gpu.tensor_frac
    return ceil(_sm_flop(gpu, format_name) * gpu.sms * gpu.clock * frac)


def memory_bytes_per_s(gpu: GpuSpec) -> int:
    """The highest rate at which any operator moves device memory, under the GPU's rule."""
    frac = gpu.attacc.memory_frac if gpu.rule == "attacc" else gpu.memory_frac
    return ceil(gpu.memory_bandwidth * frac)


def flop_energy_fj(gpu: GpuSpec, format_name: str) -> int:
    """Dynamic femtojoules per FLOP in a format."""
    _sm_flop(gpu, format_name)
    return gpu.flop_energy[format_name]
