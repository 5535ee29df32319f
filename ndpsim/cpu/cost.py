"""What an operator costs on the host: memory or arithmetic, whichever is longer, after a call."""

from math import ceil

from ndpsim.cpu.spec import CpuSpec
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo
from ndpsim.units import ceil_div, ps_for
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
    memory_ps = ps_for(operator.n_bytes, kernel_bytes_per_s(cpu))
    return max(cpu.call + memory_ps, compute_ps(memo, cpu, operator))


def compute_ps(memo: Memo, cpu: CpuSpec, operator: Operator) -> int:
    """As `operator_ps`, if memory were no limit: the call and the arithmetic.

    A GEMM takes the matrix unit where that is faster than SIMD.
    """
    del memo  # leaf of the model: nothing below is worth remembering
    format_name = operator.activation.name
    flop, prepare_ps = operator.flop, 0
    if isinstance(operator, Gemm) and operator.weight != operator.activation:
        prepare = cpu.dequant_flop * operator.n * operator.k
        prepare_ps = ps_for(prepare, _simd_flop_per_s(cpu, "fp32"))
    body_ps = ps_for(flop, _simd_flop_per_s(cpu, format_name))
    if isinstance(operator, Gemm) and format_name in cpu.matrix_flop:
        rows = ceil_div(operator.m, cpu.matrix_rows) * cpu.matrix_rows
        tiles_flop = flop // operator.m * rows
        body_ps = min(body_ps, ps_for(tiles_flop, _matrix_flop_per_s(cpu, format_name)))
    return cpu.call + prepare_ps + body_ps


def _core_flop(cpu: CpuSpec, format_name: str) -> int:
    """SIMD FLOP per cycle and core."""
    try:
        return cpu.simd_flop[format_name]
    except KeyError:
        known = ", ".join(sorted(cpu.simd_flop))
        raise ConfigError(
            "cpu.simd_flop", f"no rate for format '{format_name}'; this CPU has: {known}"
        ) from None


def _simd_flop_per_s(cpu: CpuSpec, format_name: str) -> int:
    return ceil(_core_flop(cpu, format_name) * cpu.cores * cpu.clock * cpu.simd_frac)


def _matrix_flop_per_s(cpu: CpuSpec, format_name: str) -> int:
    return ceil(cpu.matrix_flop.get(format_name, 0) * cpu.cores * cpu.clock * cpu.matrix_frac)


def peak_flop_per_s(cpu: CpuSpec, format_name: str) -> int:
    """The highest FLOP rate any operator reaches."""
    return max(_simd_flop_per_s(cpu, format_name), _matrix_flop_per_s(cpu, format_name))


def memory_bytes_per_s(cpu: CpuSpec) -> int:
    """The highest rate at which the cores read host memory.

    The channels or the clusters' ports limit it. With pages interleaved over n NUMA nodes, a node's
    cores find 1/n of them at home and the rest at `remote_frac` of the rate.
    """
    rate = cpu.memory_bandwidth * cpu.memory_frac
    if cpu.cluster_bandwidth is not None:
        rate = min(rate, cpu.clusters * cpu.cluster_bandwidth * cpu.cluster_frac)
    if cpu.numa == "interleaved":
        home_frac = 1 / cpu.numa_nodes
        rate /= home_frac + (1 - home_frac) / cpu.remote_frac
    return ceil(rate)


def kernel_bytes_per_s(cpu: CpuSpec) -> int:
    """The rate at which expert kernels read weights that nothing else competes with."""
    return ceil(memory_bytes_per_s(cpu) * cpu.kernel_frac)


def flop_energy_fj(cpu: CpuSpec, format_name: str) -> int:
    """Dynamic femtojoules per FLOP in a format."""
    _core_flop(cpu, format_name)
    return cpu.flop_energy[format_name]
