"""CPU experts and copies to the GPU read the same host memory: each slows the other."""

from ndpsim.engine import Record
from ndpsim.experiment import RunSpec, build_machine
from ndpsim.memo import Memo
from ndpsim.policy import Dispatch, DispatchView, Plan, Slot
from ndpsim.spec import resolve
from ndpsim.system import Machine, Situation, Stage
from ndpsim.testing.configs import tiny_config


class Both(Dispatch):
    """The first slot is copied to the GPU, the rest run on the CPU."""

    near = False
    n_copied: int = 1

    def plan(self, view: DispatchView) -> Plan:
        indices = tuple(range(len(view.slots)))
        return Plan(gpu=indices[: self.n_copied], cpu=indices[self.n_copied :])


def host_machine() -> Machine:
    """Host memory so narrow that one expert's weights take longer than its arithmetic."""
    changes = {
        "model.d_model": 1024,
        "model.d_expert": 4096,
        "system.topology": [
            {"name": "pcie", "link": "pcie5-x16", "ends": ["host", "gpu"]},
            {
                "name": "memory",
                "link": {"preset": "ddr5-5200-dual", "lanes": 1},
                "ends": ["host", "memory"],
            },
        ],
    }
    config = tiny_config(system="rtx-4090-ryzen-7950x", scheduler="cpu-offload")
    spec = resolve(RunSpec, config, changes).spec
    return build_machine(spec, spec.model_spec())[0]


def took_ps(machine: Machine, n_copied: int, n_slots: int) -> dict[str, int]:
    records: list[Record] = []
    slots = tuple(Slot(0, False, 1) for _ in range(n_slots))
    stage = Situation("experts", "decode", 1, slots=slots)
    Stage(Memo(), machine, Both(n_copied=n_copied), stage, records.append).run()
    return {r.name: r.end_ps - r.start_ps for r in records if r.name in ("fetch", "weights")}


def test_copies_and_cpu_experts_slow_each_other() -> None:
    machine = host_machine()
    copy_alone, cpu_alone = took_ps(machine, 1, 1)["fetch"], took_ps(machine, 0, 1)["weights"]
    both = took_ps(machine, 1, 2)
    assert both["fetch"] > 1.5 * copy_alone
    assert both["weights"] > 1.5 * cpu_alone
