"""MoNDE's fixed share: split active experts by bandwidth ratio."""

from typing import Literal

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register
from ndpsim.spec.model import Time
from ndpsim.units import ceil_div


@register("dispatch", "monde")
class BandwidthRatio(Dispatch):
    """The experts with most tokens go to the GPU, the rest stay near their data.

    Of `a` active experts, H = a B_link / (B_link + B_near) are copied to the GPU (MoNDE, arXiv
    2405.18832, eq. 1-2; as DynaNDE's simulator codes it).
    """

    source = "MoNDE, DAC 2024, arXiv 2405.18832"
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 20_000
    """Assumed: 20 ns, an expert's part in sorting by tokens."""
    rounding: Literal["floor", "round", "ceil"] = "round"
    """How H becomes a whole number; the paper does not say."""

    def plan(self, view: DispatchView) -> Plan:
        """Top-H by tokens to the GPU, beside experts that are already there."""
        resident = [i for i, slot in enumerate(view.slots) if slot.resident]
        missing = sorted(
            (i for i, slot in enumerate(view.slots) if not slot.resident),
            key=lambda i: -view.slots[i].n_tokens,
        )
        total = view.link_bytes_per_s + view.near_bytes_per_s
        share = len(missing) * view.link_bytes_per_s
        n_gpu = {
            "floor": share // total,
            "round": (2 * share + total) // (2 * total),
            "ceil": ceil_div(share, total),
        }[self.rounding]
        return Plan(gpu=(*resident, *missing[:n_gpu]), near=tuple(sorted(missing[n_gpu:])))
