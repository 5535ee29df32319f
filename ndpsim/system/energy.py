"""Energy of a run: integer event counts, each multiplied once by its price."""

from collections.abc import Mapping
from math import fsum

from ndpsim import cpu, gpu
from ndpsim.system.machine import GPU, Machine, ranks_of
from ndpsim.units import PS_PER_S

FJ = 1e-15
UW = 1e-6


def energy_j(
    machine: Machine,
    duration_ps: int,
    n_bytes: Mapping[str, int],
    flop: Mapping[str, int],
    commands: Mapping[str, int],
) -> dict[str, float]:
    """Joules by component over a run: dynamic energy per event, static power over the duration.

    Parameters
    ----------
    n_bytes
        By resource: device memory traffic of `gpu` and `cpu`, payload of every link.
    flop
        By device.
    commands
        DRAM commands of near-data work, as "unit.COMMAND".
    """
    system, activation = machine.system, machine.formats.activation.name
    seconds = duration_ps / PS_PER_S
    ranks = {ranks_of(unit) for unit in machine.units}
    return {
        "gpu_compute": flop.get(GPU, 0) * gpu.flop_energy_fj(system.gpu, activation) * FJ,
        "gpu_memory": 8 * n_bytes.get(GPU, 0) * system.gpu.memory_energy * FJ,
        "gpu_static": system.gpu.idle_power * UW * seconds,
        "cpu_compute": flop.get("cpu", 0) * cpu.flop_energy_fj(system.cpu, activation) * FJ,
        "cpu_memory": 8 * n_bytes.get("cpu", 0) * system.cpu.memory_energy * FJ,
        "cpu_static": system.cpu.idle_power * UW * seconds,
        **_units_j(machine, seconds, flop, commands),
        "links": fsum(
            8 * n * machine.topology.energy[name] * FJ
            for name, n in n_bytes.items()
            if name in machine.topology.energy and name not in ranks
        ),
    }


def _units_j(
    machine: Machine, seconds: float, flop: Mapping[str, int], commands: Mapping[str, int]
) -> dict[str, float]:
    if not machine.units:
        return {}
    unit = machine.ndp.unit
    static_power = unit.static_power + unit.ranks * unit.dram.standby_power
    return {
        "ndp_compute": sum(flop.get(name, 0) for name in machine.units) * unit.energy_per_flop * FJ,
        "ndp_dram": fsum(
            n * unit.dram.energy.get(name.split(".")[1], 0) * FJ for name, n in commands.items()
        ),
        "ndp_static": len(machine.units) * static_power * UW * seconds,
    }
