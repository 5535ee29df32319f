"""Prefetch that knows what decode will use."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import ExpertId, Need, Phase, Prefetch, PrefetchState, ResidencyView
from ndpsim.policy.files import expert_counts
from ndpsim.policy.popular import HowMany, most_used
from ndpsim.registry import register


@register("prefetch", "oracle")
class Oracle(Prefetch):
    """After prefill, load the experts that this request's decode will use most.

    What prefetching by frequency could gain with a perfect guess. An oracle: it sees the routing of
    the whole request, and its decisions cost nothing.
    """

    watches: ClassVar[frozenset[Phase]] = frozenset({"prefill"})
    count: HowMany = "adaptive"
    """Experts per layer; `fit`: as many as free GPU memory holds for every layer alike; `adaptive`:
    in each layer as many as keep the GPU from becoming the slower side."""

    @property
    def needs(self) -> frozenset[Need]:
        """The future."""
        return frozenset({"future"})

    def start(self, view: ResidencyView) -> PrefetchState:
        """What to load at the end of prefill."""
        used = np.zeros((view.n_moe_layers, view.n_experts), dtype=np.int64)
        if decode := view.future[1:]:
            used = expert_counts(np.concatenate(decode), view.n_experts)
        return _Known(most_used(used, used.astype(np.float64), self.count, view))


class _Known:
    def __init__(self, experts: Sequence[ExpertId]) -> None:
        self._experts = experts

    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        """Nothing is news."""

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        return self._experts
