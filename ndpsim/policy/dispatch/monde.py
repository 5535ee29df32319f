"""MoNDE's fixed share: split active experts by bandwidth ratio."""

from collections import Counter
from typing import Literal

from ndpsim.policy.contract import Dispatch, DispatchView, Plan
from ndpsim.registry import register
from ndpsim.spec.model import Time
from ndpsim.units import ceil_div


@register("dispatch", "monde")
class BandwidthRatio(Dispatch):
    """The experts with most tokens go to the GPU, the rest stay near their data.

    Of `a` active experts, H = a B_link / (B_link + B_near) are copied to the GPU (MoNDE, arXiv
    2405.18832, eq. 1-2; as DynaNDE's simulator codes it). Among equally many tokens the paper
    leaves the choice open; here the home with most experts left gives first.
    """

    source = "MoNDE, DAC 2024, arXiv 2405.18832"
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 20_000
    """Assumed: 20 ns, an expert's part in sorting by tokens."""
    rounding: Literal["floor", "round", "ceil", "argmin"] = "round"
    """How H becomes a whole number; the paper does not say. `argmin`: the whole number for which
    the later side, H / B_link or (a - H) / B_near, ends soonest."""

    def plan(self, view: DispatchView) -> Plan:
        """Top-H by tokens to the GPU, beside experts that are already there."""
        resident = [i for i, slot in enumerate(view.slots) if slot.resident]
        missing = [i for i, slot in enumerate(view.slots) if not slot.resident]
        n_left = Counter(view.slots[i].home for i in missing)
        rank = {}
        for i in missing:
            home = view.slots[i].home
            rank[i] = n_left[home]
            n_left[home] -= 1
        missing.sort(key=lambda i: (-view.slots[i].n_tokens, -rank[i], i))
        n_gpu = self._share(len(missing), view.link_bytes_per_s, view.near_bytes_per_s)
        return Plan(gpu=(*resident, *missing[:n_gpu]), near=tuple(sorted(missing[n_gpu:])))

    def _share(self, n_missing: int, link: int, near: int) -> int:
        """Experts to copy, of those that are missing."""
        share, total = n_missing * link, link + near
        if self.rounding == "floor":
            return share // total
        if self.rounding == "round":
            return (2 * share + total) // (2 * total)
        n_gpu = ceil_div(share, total)
        if self.rounding == "ceil" or n_gpu == 0:
            return n_gpu
        copies, rest = n_gpu * near, (n_missing - n_gpu + 1) * link
        return n_gpu if max(copies, rest - link) < max(copies - near, rest) else n_gpu - 1
