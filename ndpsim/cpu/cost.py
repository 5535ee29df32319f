"""What an operator costs on the host: memory or arithmetic, whichever is longer, after a call."""

from math import ceil

from ndpsim.cpu.spec import CpuSpec
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo
from ndpsim.units import ps_for
from ndpsim.workload.operators import Gemm, Operator


def operator_ps(memo: Memo, cpu: CpuSpec, operator: Operator) -> int:
    """Picoseconds of one operator with all cores and the host memory to itself, call included.

    A weight of a narrower format costs `dequant_flop` once per operator: activations are few enough
    to stay in registers and L1 beside it.

    Raises
    ------
    ConfigError
        The CPU has no rate for the operator's activation format.
    """
    memory_ps = ps_for(operator.n_bytes, memory_bytes_per_s(cpu))
    return max(cpu.call + memory_ps, compute_ps(memo, cpu, operator))


def compute_ps(memo: Memo, cpu: CpuSpec, operator: Operator) -> int:
    """As `operator_ps`, if memory were no limit: the call and the arithmetic."""
    del memo  # leaf of the model: nothing below is worth remembering
    flop = operator.flop
    if isinstance(operator, Gemm) and operator.weight != operator.activation:
        flop += cpu.dequant_flop * operator.n * operator.k
    return cpu.call + ps_for(flop, peak_flop_per_s(cpu, operator.activation.name))


def _core_flop(cpu: CpuSpec, format_name: str) -> int:
    """SIMD FLOP per cycle and core."""
    try:
        return cpu.simd_flop[format_name]
    except KeyError:
        known = ", ".join(sorted(cpu.simd_flop))
        raise ConfigError(
            "cpu.simd_flop", f"no rate for format '{format_name}'; this CPU has: {known}"
        ) from None


def peak_flop_per_s(cpu: CpuSpec, format_name: str) -> int:
    """The highest FLOP rate any operator reaches."""
    return ceil(_core_flop(cpu, format_name) * cpu.cores * cpu.clock * cpu.simd_frac)


def memory_bytes_per_s(cpu: CpuSpec) -> int:
    """The highest rate at which the cores read host memory."""
    return ceil(cpu.memory_bandwidth * cpu.memory_frac)


def flop_energy_fj(cpu: CpuSpec, format_name: str) -> int:
    """Dynamic femtojoules per FLOP in a format."""
    _core_flop(cpu, format_name)
    return cpu.flop_energy[format_name]
