"""The seed paper's balancer: as many experts to the GPU as finish together with the rest."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register
from ndpsim.spec.model import Time


@register("dispatch", "load-balance")
class LoadBalance(Dispatch):
    """Copy x experts to the GPU so that GPU time and near-data time are as close as possible.

    Candidates are taken by tokens, then from the unit with most work. For each x, the GPU runs its
    residents while copies arrive one after another; the units run the rest, kept from computing
    while a copy reads their ranks where the machine has no concurrent access. The x with the least
    maximum of both is taken, the smallest such x on a tie. One rule serves prefill and decode.
    Source: arXiv 2601.03992, reconstructed from public digests.
    """

    source = "arXiv 2601.03992"
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 50_000
    """Assumed: 50 ns, a few hundred instructions per candidate."""

    def plan(self, view: DispatchView) -> Plan:
        """The best split over all x."""
        slots = view.slots
        resident = [i for i, slot in enumerate(slots) if slot.resident]
        near_ps: dict[str, int] = {}
        for slot in slots:
            if not slot.resident:
                _add(near_ps, view.near_ps(slot))
        moved = sorted(
            (i for i, slot in enumerate(slots) if not slot.resident),
            key=lambda i: (
                -slots[i].n_tokens,
                -max((near_ps[unit] for unit, _ in view.near_ps(slots[i])), default=0),
                i,
            ),
        )
        gpu_end_ps = sum(view.gpu_ps(slots[i]) for i in resident)
        arrival_ps = 0
        best_ps, best_x = max(gpu_end_ps, max(near_ps.values(), default=0)), 0
        for x, index in enumerate(moved, start=1):
            slot = slots[index]
            arrival_ps += view.fetch_ps(slot)
            gpu_end_ps = max(gpu_end_ps, arrival_ps) + view.gpu_ps(slot)
            _add(near_ps, view.near_ps(slot), sign=-1)
            _add(near_ps, view.blocked_ps(slot))
            makespan_ps = max(gpu_end_ps, *near_ps.values())
            if makespan_ps < best_ps:
                best_ps, best_x = makespan_ps, x
            if gpu_end_ps >= best_ps:
                break
        return Plan(gpu=(*resident, *moved[:best_x]), near=tuple(sorted(moved[best_x:])))


def _add(total: dict[str, int], parts: tuple[tuple[str, int], ...], sign: int = 1) -> None:
    for unit, duration_ps in parts:
        total[unit] = total.get(unit, 0) + sign * duration_ps
