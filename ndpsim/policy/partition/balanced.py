"""Expert parallel with experts dealt to units by how much each was used before."""

import numpy as np

from ndpsim.policy.contract import Need, Partition, PartitionView, Placement
from ndpsim.policy.files import counts_of
from ndpsim.policy.homes import even_units, whole_homes
from ndpsim.registry import register
from ndpsim.spec.model import InputPath


@register("partition", "balanced")
class Balanced(Partition):
    """Whole experts on single units, each layer's calibrated load spread evenly.

    Heaviest expert first to the least loaded unit with room, as expert-parallel load balancers do
    (DeepSeek EPLB without replicas).
    """

    source = "greedy packing as in deepseek-ai/EPLB"
    profile: InputPath | None = None
    """Calibration counts (a trace, or CSV layer,expert,count); by default the trace's others."""

    @property
    def needs(self) -> frozenset[Need]:
        """Other sequences, unless a file has the counts."""
        return frozenset({"profile"} if self.profile is None else ())

    def place(self, view: PartitionView) -> Placement:
        """One home per unit."""
        counts = counts_of(self.profile, view)
        rows = [even_units(row, len(view.units)) for row in counts]
        return Placement(whole_homes(view), np.stack(rows))
