"""Host memory: no near-data compute, experts in ordinary memory."""

import numpy as np

from ndpsim.policy.contract import Home, Partition, PartitionView, Placement, Shard
from ndpsim.registry import register


@register("partition", "host")
class HostMemory(Partition):
    """All experts whole in the host's ordinary memory (offloading baselines)."""

    on = "host"

    def place(self, view: PartitionView) -> Placement:
        """A single home: the host memory."""
        home = Home(view.host, (Shard(view.host, view.d_expert),))
        return Placement((home,), np.zeros((view.n_moe_layers, view.n_experts), dtype=np.int16))
