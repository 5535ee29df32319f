"""What is not on the GPU runs on the host CPU."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register


@register("dispatch", "cpu-only")
class CpuOnly(Dispatch):
    """Resident experts run on the GPU, all others on the host CPU; nothing is fetched."""

    near = False
    cpu = True
    source = "llama.cpp and KTransformers without deferral"

    def plan(self, view: DispatchView) -> Plan:
        """By residency alone."""
        indices = range(len(view.slots))
        return Plan(
            gpu=tuple(i for i in indices if view.slots[i].resident),
            cpu=tuple(i for i in indices if not view.slots[i].resident),
        )
