"""Energy of a run: integer event counts, each multiplied once by its price.

A byte is charged where it moves: a memory's array for every access, a link's wires and PHYs for
every crossing. A link's own energy holds no memory, and a memory's holds no link.
"""

from collections.abc import Mapping
from math import fsum

from ndpsim import cpu, gpu
from ndpsim.dram import DramSpec, refresh_interval_ps
from ndpsim.ndp import NdpSpec
from ndpsim.system.machine import GPU, HOST, MEMORY, Machine, ranks_of
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
        By resource: device memory traffic of `gpu` and `cpu`, payload of every link, bytes read
        from each unit's ranks (by its own work, and by copies where these touch the ranks).
    flop
        By device.
    commands
        DRAM commands of near-data work, as "unit.COMMAND".
    """
    system, activation = machine.system, machine.formats.activation.name
    seconds = duration_ps / PS_PER_S
    on_gpu = n_bytes.get(GPU, 0) + sum(n_bytes.get(name, 0) for name in into_gpu(machine))
    on_host = n_bytes.get("cpu", 0) + sum(n_bytes.get(name, 0) for name in host_memory(machine))
    return {
        "gpu_compute": flop.get(GPU, 0) * gpu.flop_energy_fj(system.gpu, activation) * FJ,
        "gpu_memory": 8 * on_gpu * system.gpu.memory_energy * FJ,
        "gpu_static": system.gpu.idle_power * UW * seconds,
        "cpu_compute": flop.get("cpu", 0) * cpu.flop_energy_fj(system.cpu, activation) * FJ,
        "cpu_memory": 8 * on_host * system.cpu.memory_energy * FJ,
        "cpu_static": system.cpu.idle_power * UW * seconds,
        **_units_j(machine, seconds, n_bytes, flop, commands),
        "links": fsum(
            8 * n_bytes.get(name, 0) * fj_per_bit * FJ
            for name, fj_per_bit in machine.topology.energy.items()
        ),
    }


def into_gpu(machine: Machine) -> frozenset[str]:
    """Links over whose last hop bytes arrive in GPU memory, and are written there."""
    routes = [machine.route(device, GPU) for device in machine.topology.devices]
    return frozenset(route.resources[-1] for route in routes if route.resources)


def host_memory(machine: Machine) -> frozenset[str]:
    """Links at the host's memory: what crosses them is read or written there."""
    out, back = machine.route(MEMORY, HOST), machine.route(HOST, MEMORY)
    return frozenset((*out.resources[:1], *back.resources[-1:]))


def _units_j(
    machine: Machine,
    seconds: float,
    n_bytes: Mapping[str, int],
    flop: Mapping[str, int],
    commands: Mapping[str, int],
) -> dict[str, float]:
    if not machine.units:
        return {}
    unit = machine.ndp.unit
    near_fj = command_prices_fj(unit)
    near = fsum(n * near_fj.get(name.split(".")[1], 0.0) * FJ for name, n in commands.items())
    read = next(c.name for c in unit.dram.standard.commands if c.action == "read")
    copied_bytes = sum(
        max(
            0,
            n_bytes.get(ranks_of(name), 0)
            - commands.get(f"{name}.{read}", 0) * unit.dram.transaction_bytes,
        )
        for name in machine.units
    )
    static_w = unit.static_power * UW + memory_static_w(unit)
    return {
        "ndp_compute": sum(flop.get(name, 0) for name in machine.units) * unit.energy_per_flop * FJ,
        "ndp_dram": near + copied_bytes * read_fj_per_byte(unit.dram) * FJ,
        "ndp_static": len(machine.units) * static_w * seconds,
    }


def command_prices_fj(unit: NdpSpec) -> dict[str, float]:
    """Femtojoules of each command of near-data work; refreshes are part of static power."""
    prices = {}
    for command in unit.dram.standard.commands:
        price = float(unit.dram.energy.get(command.name, 0))
        if command.action == "read":
            price *= unit.read_energy_frac
        if command.action != "refresh":
            prices[command.name] = price
    return prices


def read_fj_per_byte(dram: DramSpec) -> float:
    """Femtojoules per byte of a long read over the memory's pins: bursts, and a row at a time."""
    names = {command.action: command.name for command in dram.standard.commands}
    organisation = dram.organisation
    row_bytes = organisation.counts["column"] * organisation.channel_width_bits // 8
    burst = dram.energy.get(names["read"], 0) / dram.transaction_bytes
    return burst + dram.energy.get(names["activate"], 0) / row_bytes


def memory_static_w(unit: NdpSpec) -> float:
    """Watts of all memory of a unit at rest: standby, and refreshes at their interval."""
    dram = unit.dram
    standby_w = unit.ranks * dram.organisation.counts.get("rank", 1) * dram.standby_power * UW
    interval_ps = refresh_interval_ps(dram)
    if not interval_ps:
        return standby_w
    refresh = next(c for c in dram.standard.commands if c.action == "refresh")
    n_refreshed = unit.ranks * unit.objects(refresh.scope)
    refresh_fj = n_refreshed * dram.energy.get(refresh.name, 0)
    return standby_w + refresh_fj * FJ / (interval_ps / PS_PER_S)
