"""No prefetch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import ExpertId, Phase, Prefetch, PrefetchState, ResidencyView
from ndpsim.registry import register


@register("prefetch", "none")
class NoPrefetch(Prefetch):
    """Nothing is brought to the GPU ahead of need."""

    def start(self, view: ResidencyView) -> PrefetchState:
        """A state that asks for nothing."""
        return _Nothing()


class _Nothing:
    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        pass

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        return ()
