"""Speculative loading: the next layer's gate on this layer's hidden state."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import ExpertId, LookaheadState, Need, Phase, Prefetch, ResidencyView
from ndpsim.registry import register
from ndpsim.spec.model import Count, Frac, Time


@register("prefetch", "next-gate")
class NextGate(Prefetch):
    """While a layer's experts run, load those that the next layer's gate predicts.

    The experts with most predicted tokens go first, then those predicted with higher rank. The last
    layer predicts nothing. Predictions are the trace's, or made up with a stated recall.
    """

    source = "Mixtral-offloading, arXiv 2312.17238"
    lookahead: ClassVar[int] = 1
    count: Count | None = None
    """Experts to load per layer; by default all that are predicted."""
    recall: Frac | None = None
    """Share of each token's experts that is predicted. Each is with this probability; in place of
    one that is not, an expert the token does not use is, drawn evenly, by the run's seed. By
    default the trace's own predictions are used."""
    charge_gate: bool = True
    """Whether the GPU's time for the next layer's gate is charged, beside each layer's experts."""
    decision_per_expert: Time = 20_000
    """Assumed: 20 ns, a look-up per candidate in cached host memory."""

    @property
    def needs(self) -> frozenset[Need]:
        """Predictions, unless they are made up."""
        return frozenset({"predicted"} if self.recall is None else ())

    @property
    def recall_frac(self) -> float | None:
        """See `recall`."""
        return self.recall

    @property
    def evaluates_gate(self) -> bool:
        """See `charge_gate`."""
        return self.charge_gate

    def start(self, view: ResidencyView) -> LookaheadState:
        """Nothing is kept between layers."""
        return _Predicted(self.count)


class _Predicted:
    def __init__(self, count: int | None) -> None:
        self._count = count

    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        """What was routed says nothing about the next layer."""

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        return ()

    def ahead(self, layer: int, predicted: NDArray[np.int16]) -> Sequence[ExpertId]:
        n_tokens: dict[int, int] = {}
        for expert in predicted.T.ravel().tolist():
            if expert >= 0:
                n_tokens[expert] = n_tokens.get(expert, 0) + 1
        if len(predicted) > 1:
            wanted = sorted(n_tokens, key=lambda expert: -n_tokens[expert])
        else:
            wanted = list(n_tokens)
        return [(layer, expert) for expert in wanted[: self._count]]
