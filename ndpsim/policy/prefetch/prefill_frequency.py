"""Dataset-free prefetch: the request's own prefill names the experts to load."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import ExpertId, Phase, Prefetch, PrefetchState, ResidencyView
from ndpsim.policy.popular import HowMany, most_used
from ndpsim.registry import register


@register("prefetch", "prefill-frequency")
class PrefillFrequency(Prefetch):
    """After prefill, load each layer's most selected experts of this request; then leave them.

    Counting is not charged: it goes on beside the prefill's experts. Source: arXiv 2601.03992
    (dataset-free prefetch), reconstructed from public digests.
    """

    source = "arXiv 2601.03992"
    watches: ClassVar[frozenset[Phase]] = frozenset({"prefill"})
    count: HowMany = 1
    """Experts per layer; `fit`: as many as free GPU memory holds for every layer alike; `adaptive`:
    in each layer as many as keep the GPU from becoming the slower side."""

    def start(self, view: ResidencyView) -> PrefetchState:
        """A counter per (layer, expert)."""
        return _Counter(self.count, view)


class _Counter:
    def __init__(self, how_many: HowMany, view: ResidencyView) -> None:
        self._selected = np.zeros((view.n_moe_layers, view.n_experts), dtype=np.int64)
        self._how_many = how_many
        self._view = view

    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        ids = experts[experts >= 0]
        self._selected[layer] += np.bincount(ids, minlength=self._selected.shape[1])

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        scores = self._selected.astype(np.float64)
        return most_used(self._selected, scores, self._how_many, self._view)
