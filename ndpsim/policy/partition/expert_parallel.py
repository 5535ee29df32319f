"""Expert parallel: each expert whole on one unit."""

from typing import Literal

import numpy as np

from ndpsim.policy.contract import Partition, PartitionView, Placement
from ndpsim.policy.homes import whole_homes
from ndpsim.registry import register


@register("partition", "expert-parallel")
class ExpertParallel(Partition):
    """Each expert lives whole on one unit (MoNDE and the usual baseline)."""

    order: Literal["modulo", "contiguous"] = "modulo"
    """Expert e of E on unit e mod D, or experts in D contiguous blocks, the first ones larger."""

    def place(self, view: PartitionView) -> Placement:
        """One home per unit."""
        homes = whole_homes(view)
        experts = np.arange(view.n_experts)
        if self.order == "modulo":
            row = experts % len(homes)
        else:
            size, n_larger = divmod(view.n_experts, len(homes))
            sizes = [size + (index < n_larger) for index in range(len(homes))]
            row = np.repeat(np.arange(len(homes)), sizes)
        return Placement(homes, np.tile(row.astype(np.int16), (view.n_moe_layers, 1)))
