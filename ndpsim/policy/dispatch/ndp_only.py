"""Compute where the weights are."""

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register


@register("dispatch", "ndp-only")
class NdpOnly(Dispatch):
    """Resident experts run on the GPU, all others on their NDP units; nothing is fetched."""

    def plan(self, view: DispatchView) -> Plan:
        """By residency alone."""
        indices = range(len(view.slots))
        return Plan(
            gpu=tuple(i for i in indices if view.slots[i].resident),
            near=tuple(i for i in indices if not view.slots[i].resident),
        )
