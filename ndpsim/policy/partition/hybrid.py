"""Hybrid by heat: hot experts cut over all units, cold ones whole on one."""

import numpy as np

from ndpsim.policy.contract import Need, Partition, PartitionView, Placement
from ndpsim.policy.files import counts_of
from ndpsim.policy.homes import cut_homes, even_units, whole_homes
from ndpsim.registry import register
from ndpsim.spec.model import Frac, InputPath


@register("partition", "hybrid")
class Hybrid(Partition):
    """Each layer's most used experts are cut over all units, the others live whole on one.

    Cold experts are spread by the greedy rule of `balanced`. TriMoE (arXiv 2603.01058) stripes
    warm experts and keeps cold ones local; HD-MoE (ICCAD 2025) chooses per expert.
    """

    source = "TriMoE, DAC 2026, arXiv 2603.01058; HD-MoE, ICCAD 2025"
    hot_frac: Frac = 0.25
    """Share of a layer's experts that are cut; the papers state none, so a quarter is assumed."""
    profile: InputPath | None = None
    """Calibration counts (a trace, or CSV layer,expert,count); by default the trace's others."""

    @property
    def needs(self) -> frozenset[Need]:
        """Other sequences, unless a file has the counts."""
        return frozenset({"profile"} if self.profile is None else ())

    def place(self, view: PartitionView) -> Placement:
        """Homes of whole experts, then those of cut ones."""
        counts = counts_of(self.profile, view)
        whole, cut = whole_homes(view), cut_homes(view, view.units, "cut")
        n_hot = round(self.hot_frac * view.n_experts)
        home_of = np.zeros(counts.shape, dtype=np.int16)
        for row, layer in zip(home_of, counts, strict=True):
            hot, cold = np.split(np.argsort(-layer, kind="stable"), [n_hot])
            row[hot] = len(whole) + hot % len(cut)
            if len(cold):
                row[cold] = even_units(layer[cold], len(whole))
        return Placement((*whole, *cut), home_of)
