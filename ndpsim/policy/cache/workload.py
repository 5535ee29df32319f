"""Keep what was given most tokens of late."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ndpsim.policy.contract import Cache, ExpertId, ResidencyView, Verdict, WatchingState
from ndpsim.policy.rooms import divided
from ndpsim.registry import register
from ndpsim.spec.model import Time


@register("cache", "workload")
class Workload(Cache):
    """Each layer keeps the experts with most tokens of late; recency alone does not matter.

    A layer's scores fade by `fade` per step and grow by the tokens routed to each expert, wherever
    they are computed. An arrival that scores less than all held is refused. DALI (arXiv 2602.03495)
    evicts by recent workload; its window is not stated.
    """

    source = "DALI, arXiv 2602.03495"
    keeps_fetched = True
    watches = True
    fade: Annotated[float, Field(gt=0, le=1, strict=False)] = 0.9
    """What is left of a score after one step; assumed, a memory of about ten steps."""
    decision_per_expert: Time = 20_000
    """Assumed: 20 ns, a score and a comparison in cached host memory."""

    def start(self, view: ResidencyView) -> WatchingState:
        """No scores, nothing held."""
        return _Scores(divided(view, "layer", view.capacity), self.fade)


class _Scores:
    """Scores grow by ``fade ** -step`` instead of fading: the order is the same."""

    def __init__(self, room: list[int], fade: float) -> None:
        self._room = room
        self._gain = 1.0 / fade
        self._unit = [1.0] * len(room)
        self._score: list[dict[int, float]] = [{} for _ in room]
        self._held: list[dict[int, None]] = [{} for _ in room]
        """By layer, in order of arrival: of equal scores the first leaves."""

    def observe(self, layer: int, active: Sequence[tuple[int, int]]) -> None:
        unit = self._unit[layer] = self._unit[layer] * self._gain
        score = self._score[layer]
        for expert, n_tokens in active:
            score[expert] = score.get(expert, 0.0) + n_tokens * unit
        if unit > 1e200:
            self._score[layer] = {expert: value / unit for expert, value in score.items()}
            self._unit[layer] = 1.0

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        layer, index = expert
        held, score = self._held[layer], self._score[layer]
        if not self._room[layer]:
            return "refuse"
        score.setdefault(index, 0.0)
        held[index] = None
        if len(held) <= self._room[layer]:
            return None
        leaves = min(held, key=score.__getitem__)
        del held[leaves]
        return "refuse" if leaves == index else (layer, leaves)

    def touch(self, expert: ExpertId) -> None:
        """Every use was seen by `observe`."""
