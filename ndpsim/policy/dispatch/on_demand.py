"""Fetch what is missing, compute everything on the GPU."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register


@register("dispatch", "on-demand")
class OnDemand(Dispatch):
    """Every active expert runs on the GPU; those not resident are copied first."""

    near = False

    def plan(self, view: DispatchView) -> Plan:
        """Resident experts first: they hide the first copies."""
        order = sorted(range(len(view.slots)), key=lambda i: (not view.slots[i].resident, i))
        return Plan(gpu=tuple(order))
