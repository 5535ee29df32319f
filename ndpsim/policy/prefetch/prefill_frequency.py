"""Dataset-free prefetch: the request's own prefill names the experts to load."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.policy.contract import ExpertId, Phase, Prefetch, PrefetchState, ResidencyView
from ndpsim.registry import register


@register("prefetch", "prefill-frequency")
class PrefillFrequency(Prefetch):
    """After prefill, load each layer's most selected experts of this request; then leave them.

    Source: arXiv 2601.03992 (dataset-free prefetch), reconstructed from public digests.
    """

    source = "arXiv 2601.03992"
    watches: ClassVar[frozenset[Phase]] = frozenset({"prefill"})
    count: Annotated[int, Field(gt=0)] | Literal["fit"] = 1
    """Experts per layer, or `fit`: as many as free GPU memory holds for every layer alike.

    Never more than fit in all; where one per layer is too many, the first layers get theirs.
    """

    def start(self, view: ResidencyView) -> PrefetchState:
        """A counter per (layer, expert)."""
        fit = max(1, view.capacity // view.n_moe_layers)
        count = fit if self.count == "fit" else self.count
        selected = np.zeros((view.n_moe_layers, view.n_experts), dtype=np.int64)
        return _Counter(selected, count, view.capacity)


class _Counter:
    def __init__(self, selected: NDArray[np.int64], count: int, capacity: int) -> None:
        self._selected = selected
        self._count = count
        self._capacity = capacity

    def observe(self, layer: int, experts: NDArray[np.int16]) -> None:
        ids = experts[experts >= 0]
        self._selected[layer] += np.bincount(ids, minlength=self._selected.shape[1])

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        """Rank by rank over all layers: every layer's favourite before any second choice."""
        order = np.argsort(-self._selected, axis=1, kind="stable")[:, : self._count]
        wanted = [
            (layer, int(order[layer, rank]))
            for rank in range(order.shape[1])
            for layer in range(order.shape[0])
            if self._selected[layer, order[layer, rank]] > 0
        ]
        return wanted[: self._capacity]
