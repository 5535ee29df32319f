"""Tensor parallel: every expert cut over all units, or over groups of them."""

from itertools import accumulate

import numpy as np

from ndpsim.policy.contract import Partition, PartitionView, Placement
from ndpsim.policy.homes import cut_homes
from ndpsim.registry import register
from ndpsim.spec.model import Count


@register("partition", "tensor-parallel")
class TensorParallel(Partition):
    """Gate and up by column, down by row, over all units (arXiv 2601.03992).

    Slices are whole groups of `slice_granularity` columns. When the groups do not divide evenly,
    some units hold one group more, rotated by expert so that no unit is always the larger one.
    """

    source = "arXiv 2601.03992"
    groups: Count | None = None
    """Units that share an expert: experts go in turn to groups of this many units, in order, the
    last group taking what is left. By default all units form one group."""

    def place(self, view: PartitionView) -> Placement:
        """By group, one home per rotation of the uneven cut; a single home when it is even."""
        size = self.groups or len(view.units)
        parts = [view.units[i : i + size] for i in range(0, len(view.units), size)]
        names = ["tp"] if len(parts) == 1 else [f"tp{index}" for index in range(len(parts))]
        homes = [cut_homes(view, *part) for part in zip(parts, names, strict=True)]
        first = np.array([0, *accumulate(len(cut) for cut in homes)])
        n_rotations = np.array([len(cut) for cut in homes])
        experts = np.arange(view.n_experts)
        group, turn = experts % len(parts), experts // len(parts)
        row = (first[group] + turn % n_rotations[group]).astype(np.int16)
        return Placement(sum(homes, ()), np.tile(row, (view.n_moe_layers, 1)))
