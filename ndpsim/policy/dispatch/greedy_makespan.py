"""TriMoE's rule: greedy over GPU, host CPU and NDP, then moves off the slowest device."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.policy.makespan import CPU, GPU, NEAR, Loads
from ndpsim.registry import register
from ndpsim.spec.model import CountOrZero, Time


@register("dispatch", "greedy-makespan")
class GreedyMakespan(Dispatch):
    """Each expert to the device that keeps the makespan least, then moves off the slowest.

    Experts are taken by tokens, most first. The GPU's time is the larger of its copies and its
    compute (compute alone for what is resident), the CPU's that of its cores or of reading the
    weights, an NDP unit's that of its compute or its internal read. Then, while the makespan falls,
    one expert of the slowest device moves to another (TriMoE, DAC 2026, arXiv 2603.01058).
    """

    cpu = True
    source = "TriMoE, DAC 2026, arXiv 2603.01058"
    max_moves: CountOrZero = 8
    """Moves tried at most; assumed, the paper states no limit."""
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 100_000
    """Assumed: 100 ns, three estimates and a share of the moves."""

    def plan(self, view: DispatchView) -> Plan:
        """Greedy, then refined."""
        loads = Loads(view, (GPU, NEAR, CPU), serial=False)
        slots = view.slots
        order = sorted(range(len(slots)), key=lambda i: (-slots[i].n_tokens, i))
        for index in order:
            loads.give(index, _best(loads, index)[1])
        for _ in range(self.max_moves):
            if not _move(loads, order):
                break
        return loads.plan()


def _best(loads: Loads, index: int) -> tuple[int, str]:
    """(makespan, device) of the best place for a slot; ties go to what ends sooner, then GPU."""
    options = [
        (loads.after_ps(index, device), loads.ends_ps[device], n, device)
        for n, device in enumerate(loads.options(index))
    ]
    makespan_ps, _, _, device = min(options)
    return makespan_ps, device


def _move(loads: Loads, order: list[int]) -> bool:
    """Move the one expert off the slowest device that lowers the makespan most, if any does."""
    before_ps = loads.makespan_ps
    slowest = max((GPU, NEAR, CPU), key=loads.ends_ps.__getitem__)
    best = (before_ps, -1, slowest)
    tried: set[object] = set()
    for index in order:
        key = loads.kind(index)
        if loads.device[index] != slowest or key in tried:
            continue
        tried.add(key)
        loads.give(index, slowest, sign=-1)
        for device in loads.options(index):
            if device != slowest:
                best = min(best, (loads.after_ps(index, device), index, device), key=_first)
        loads.give(index, slowest)
    if best[1] < 0:
        return False
    loads.give(best[1], slowest, sign=-1)
    loads.give(best[1], best[2])
    return True


def _first(candidate: tuple[int, int, str]) -> int:
    return candidate[0]
