"""DALI's rule: a greedy 0-1 assignment of experts to GPU and host CPU."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.policy.makespan import CPU, GPU, Loads
from ndpsim.registry import register
from ndpsim.spec.model import Time


@register("dispatch", "greedy-assignment")
class GreedyAssignment(Dispatch):
    """Each expert to the CPU or the GPU so that the later of both ends as soon as possible.

    Minimises max(sum of CPU times, sum of GPU times with copies of missing experts), one expert
    after another, most tokens first; ties go to the GPU (DALI, arXiv 2602.03495).
    """

    near = False
    cpu = True
    source = "DALI, arXiv 2602.03495"
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 50_000
    """Assumed: 50 ns, two estimates; the paper gives 4.5 to 5 % of its run time."""

    def plan(self, view: DispatchView) -> Plan:
        """Greedy by tokens."""
        loads = Loads(view, (GPU, CPU), serial=True)
        slots = view.slots
        for index in sorted(range(len(slots)), key=lambda i: (-slots[i].n_tokens, i)):
            loads.give(index, min(loads.options(index), key=lambda d: loads.after_ps(index, d)))
        return loads.plan()
