"""GPU memory: everything resident."""

import numpy as np

from ndpsim.policy.contract import Home, Partition, PartitionView, Placement, Shard
from ndpsim.registry import register


@register("partition", "gpu")
class GpuMemory(Partition):
    """All experts whole in GPU memory, where they must fit (no offloading)."""

    on = "gpu"

    def place(self, view: PartitionView) -> Placement:
        """A single home: the GPU."""
        home = Home(view.gpu, (Shard(view.gpu, view.d_expert),))
        return Placement((home,), np.zeros((view.n_moe_layers, view.n_experts), dtype=np.int16))
