"""Expert parallel: each expert whole on one unit."""

import numpy as np

from ndpsim.policy.contract import Home, Partition, PartitionView, Placement, Shard
from ndpsim.registry import register


@register("partition", "expert-parallel")
class ExpertParallel(Partition):
    """Expert e lives whole on unit e mod D (MoNDE and the usual baseline)."""

    def place(self, view: PartitionView) -> Placement:
        """One home per unit."""
        homes = tuple(Home(unit, (Shard(unit, view.d_expert),)) for unit in view.units)
        row = np.arange(view.n_experts, dtype=np.int16) % len(homes)
        return Placement(homes, np.tile(row, (view.n_moe_layers, 1)))
