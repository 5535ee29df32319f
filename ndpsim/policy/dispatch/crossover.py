"""Fiddler's rule: each missing expert goes where it alone is done sooner."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register


@register("dispatch", "crossover")
class Crossover(Dispatch):
    """A missing expert runs on the CPU if that is no slower than copying it to the GPU.

    Each expert is judged alone by its number of tokens; queues are not considered (Fiddler, ICLR
    2025, arXiv 2402.07033).
    """

    near = False
    cpu = True
    source = "Fiddler, ICLR 2025, arXiv 2402.07033"

    def plan(self, view: DispatchView) -> Plan:
        """Residents, then copies; the rest on the CPU."""
        gpu, copied, cpu = [], [], []
        for index, slot in enumerate(view.slots):
            if slot.resident:
                gpu.append(index)
            elif view.cpu_ps(slot) <= view.fetch_ps(slot) + view.gpu_ps(slot):
                cpu.append(index)
            else:
                copied.append(index)
        return Plan(gpu=(*gpu, *copied), cpu=tuple(cpu))
