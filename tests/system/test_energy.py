"""Joules by component: additive, never negative, each byte once, and static alone when idle."""

from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.experiment import RunSpec, build_machine, run
from ndpsim.spec import resolve
from ndpsim.system import Machine, energy_j
from ndpsim.system.energy import host_memory, into_gpu, memory_static_w, read_fj_per_byte
from ndpsim.testing.configs import tiny_config

SYSTEMS = ("edge", "cxl-ndp", "h100-hbm3-pim")


@cache
def machine_of(system: str) -> Machine:
    spec = resolve(RunSpec, tiny_config(system=system, scheduler="expert-parallel")).spec
    return build_machine(spec, spec.model_spec())[0]


def joules(machine: Machine, duration_ps: int = 0, **counts: dict[str, int]) -> dict[str, float]:
    return energy_j(
        machine,
        duration_ps,
        counts.get("n_bytes", {}),
        counts.get("flop", {}),
        counts.get("commands", {}),
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_idle_machine_draws_static_power_only(system: str) -> None:
    machine = machine_of(system)
    drawn = joules(machine, 10**12)
    assert {name for name, value in drawn.items() if value} == {
        "gpu_static",
        "cpu_static",
        "ndp_static",
    }
    assert drawn["gpu_static"] == pytest.approx(machine.system.gpu.idle_power * 1e-6)
    unit = machine.ndp.unit
    memory_w = memory_static_w(unit)
    assert memory_w > unit.ranks * unit.dram.standby_power * 1e-6  # refresh is not free
    assert drawn["ndp_static"] == pytest.approx(
        machine.ndp.count * (unit.static_power * 1e-6 + memory_w)
    )


@settings(max_examples=30)
@given(data=st.data(), system=st.sampled_from(SYSTEMS))
def test_energy_of_two_runs_is_the_sum_and_never_negative(data, system) -> None:
    machine = machine_of(system)
    names = [*machine.topology.capacity, "gpu", "cpu", *(f"{u}.ranks" for u in machine.units)]
    commands = [
        f"{u}.{c.name}" for u in machine.units for c in machine.ndp.unit.dram.standard.commands
    ]
    amounts = st.integers(0, 10**12)

    def counts() -> dict[str, dict[str, int]]:
        n_commands = data.draw(st.dictionaries(st.sampled_from(commands), st.integers(0, 10**6)))
        n_bytes = data.draw(st.dictionaries(st.sampled_from(names), amounts))
        size = machine.ndp.unit.dram.transaction_bytes
        for unit in machine.units:  # what a unit reads lies in its ranks' traffic
            own = n_commands.get(f"{unit}.RD", 0) * size
            n_bytes[f"{unit}.ranks"] = n_bytes.get(f"{unit}.ranks", 0) + own
        flop = data.draw(st.dictionaries(st.sampled_from(["gpu", "cpu", *machine.units]), amounts))
        return {"n_bytes": n_bytes, "flop": flop, "commands": n_commands}

    one, two = counts(), counts()
    both = {kind: dict(Counter(one[kind]) + Counter(two[kind])) for kind in one}
    parts = [joules(machine, 3 * 10**9, **one), joules(machine, 5 * 10**9, **two)]
    whole = joules(machine, 8 * 10**9, **both)
    for name, value in whole.items():
        assert value >= 0
        assert value == pytest.approx(sum(part[name] for part in parts))


def test_a_byte_over_the_host_memory_is_charged_at_its_array_and_its_link_once() -> None:
    machine = machine_of("edge")
    (memory,) = host_memory(machine)
    drawn = joules(machine, n_bytes={memory: 10**9})
    assert drawn["cpu_memory"] == pytest.approx(8e9 * machine.system.cpu.memory_energy * 1e-15)
    assert drawn["links"] == pytest.approx(8e9 * machine.topology.energy[memory] * 1e-15)
    assert sum(drawn.values()) == pytest.approx(drawn["cpu_memory"] + drawn["links"])


def test_bytes_that_arrive_on_the_gpu_are_written_to_its_memory() -> None:
    machine = machine_of("edge")
    assert into_gpu(machine) == {"pcie.down"}
    drawn = joules(machine, n_bytes={"pcie.down": 10**9, "pcie.up": 10**9})
    assert drawn["gpu_memory"] == pytest.approx(8e9 * machine.system.gpu.memory_energy * 1e-15)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_copy_out_of_near_memory_costs_its_dram(system: str) -> None:
    machine = machine_of(system)
    unit, n_bytes = machine.ndp.unit, 2**20
    drawn = joules(machine, n_bytes={"ndp0.ranks": n_bytes})
    assert drawn["ndp_dram"] == pytest.approx(n_bytes * read_fj_per_byte(unit.dram) * 1e-15)
    n_reads = n_bytes // unit.dram.transaction_bytes
    near = joules(machine, n_bytes={"ndp0.ranks": n_bytes}, commands={"ndp0.RD": n_reads})
    frac = unit.read_energy_frac
    assert near["ndp_dram"] == pytest.approx(n_reads * unit.dram.energy["RD"] * frac * 1e-15)


@pytest.mark.parametrize("scheduler", ["on-demand", "expert-parallel", "cpu-offload"])
def test_moving_weights_costs_energy_where_they_move(scheduler: str) -> None:
    result = run(tiny_config(scheduler=scheduler))
    drawn = result.summary["energy_j"]
    assert all(value >= 0 for value in drawn.values())
    moved = {"on-demand": "links", "expert-parallel": "ndp_dram", "cpu-offload": "cpu_memory"}
    assert drawn[moved[scheduler]] > 0
    static = sum(value for name, value in drawn.items() if name.endswith("_static"))
    assert 0 < static < sum(drawn.values())
