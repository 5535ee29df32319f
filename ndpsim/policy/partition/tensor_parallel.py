"""Tensor parallel: every expert cut over all units."""

import numpy as np

from ndpsim.policy.contract import Home, Partition, PartitionView, Placement, Shard
from ndpsim.registry import register
from ndpsim.units import ceil_div


@register("partition", "tensor-parallel")
class TensorParallel(Partition):
    """Gate and up by column, down by row, over all units (arXiv 2601.03992).

    Slices are whole groups of `slice_granularity` columns. When the groups do not divide evenly,
    some units hold one group more, rotated by expert so that no unit is always the larger one.
    """

    source = "arXiv 2601.03992"

    def place(self, view: PartitionView) -> Placement:
        """One home per rotation of the uneven cut; a single home when the cut is even."""
        n_units = len(view.units)
        n_groups = ceil_div(view.d_expert, view.slice_granularity)
        smaller, n_larger = divmod(n_groups, n_units)
        n_rotations = n_units if n_larger else 1
        homes = tuple(
            Home(
                f"tp{rotation}" if n_larger else "tp",
                tuple(
                    Shard(unit, groups * view.slice_granularity)
                    for i, unit in enumerate(view.units)
                    if (groups := smaller + ((i - rotation) % n_units < n_larger))
                ),
            )
            for rotation in range(n_rotations)
        )
        row = np.arange(view.n_experts, dtype=np.int16) % n_rotations
        return Placement(homes, np.tile(row, (view.n_moe_layers, 1)))
