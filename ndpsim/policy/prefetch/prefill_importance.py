"""Context-aware pinning: how often prefill chose an expert, and how strongly."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import ExpertId, Need, Phase, Prefetch, PrefetchState, ResidencyView
from ndpsim.policy.popular import HowMany, most_used
from ndpsim.registry import register
from ndpsim.spec.model import Frac


@register("prefetch", "prefill-importance")
class PrefillImportance(Prefetch):
    """After prefill, load the experts with most importance; no change during decode.

    Importance = alpha norm(count) + (1 - alpha) norm(score): how often this request's prefill chose
    an expert and the sum of its router weights, each divided by its layer's largest
    (arXiv 2512.04476). Counting is not charged: it goes on beside the prefill's experts.
    """

    source = "arXiv 2512.04476"
    watches: ClassVar[frozenset[Phase]] = frozenset({"prefill"})
    alpha: Frac = 0.5
    """Weight of the counts; at 1 the router's weights are not needed."""
    count: HowMany = "fit"
    """Experts per layer; `fit`: as many as free GPU memory holds for every layer alike; `adaptive`:
    in each layer as many as keep the GPU from becoming the slower side."""

    @property
    def needs(self) -> frozenset[Need]:
        """Router weights, unless only counts matter."""
        return frozenset({"weights"} if self.alpha < 1 else ())

    def start(self, view: ResidencyView) -> PrefetchState:
        """A count and a score per (layer, expert)."""
        return _Importance(self.alpha, self.count, view)


class _Importance:
    def __init__(self, alpha: float, how_many: HowMany, view: ResidencyView) -> None:
        shape = (view.n_moe_layers, view.n_experts)
        self._count = np.zeros(shape, dtype=np.int64)
        self._score = np.zeros(shape, dtype=np.float64)
        self._alpha = alpha
        self._how_many = how_many
        self._view = view

    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        n_experts = self._count.shape[1]
        chosen = experts >= 0
        self._count[layer] += np.bincount(experts[chosen], minlength=n_experts)
        if weights is not None and self._alpha < 1:
            amounts = weights[chosen].astype(np.float64)
            self._score[layer] += np.bincount(experts[chosen], amounts, minlength=n_experts)

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        importance = self._alpha * _norm(self._count) + (1 - self._alpha) * _norm(self._score)
        return most_used(self._count, importance, self._how_many, self._view)


def _norm(amounts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of each layer's largest."""
    return np.asarray(amounts / np.maximum(amounts.max(axis=1, keepdims=True), 1e-9), np.float64)
