"""Popular experts, known from other requests."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import ExpertId, Need, Phase, Prefetch, PreloadState, ResidencyView
from ndpsim.policy.files import counts_of
from ndpsim.policy.popular import HowMany, most_used
from ndpsim.registry import register
from ndpsim.spec.model import InputPath


@register("prefetch", "profile")
class Profile(Prefetch):
    """Before the request arrives, fill the GPU with the experts that others used most.

    Loading is offline and costs the request nothing (Fiddler, ICLR 2025, arXiv 2402.07033).
    """

    source = "Fiddler, ICLR 2025, arXiv 2402.07033"
    preloads: ClassVar[bool] = True
    count: HowMany | None = None
    """Experts per layer; by default the most popular (layer, expert) pairs of the whole model, as
    many as fit. `fit`: as many as fit for every layer alike; `adaptive`: in each layer as many as
    keep the GPU from becoming the slower side."""
    profile: InputPath | None = None
    """Calibration counts (a trace, or CSV layer,expert,count); by default the trace's others."""

    @property
    def needs(self) -> frozenset[Need]:
        """Other sequences, unless a file has the counts."""
        return frozenset({"profile"} if self.profile is None else ())

    def start(self, view: ResidencyView) -> PreloadState:
        """The profile, ranked."""
        counts = counts_of(self.profile, view)
        if self.count is not None:
            return _Popular(most_used(counts, counts.astype(np.float64), self.count, view))
        order = np.argsort(-counts, axis=None, kind="stable")[: view.capacity].tolist()
        pairs = (divmod(index, view.n_experts) for index in order)
        return _Popular([pair for pair in pairs if counts[pair] > 0])


class _Popular:
    def __init__(self, experts: Sequence[ExpertId]) -> None:
        self._experts = experts

    def preloads(self) -> Sequence[ExpertId]:
        return self._experts

    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        """Routing changes nothing."""

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        return ()
