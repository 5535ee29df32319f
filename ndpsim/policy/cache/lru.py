"""Least recently used."""

from collections import OrderedDict
from collections.abc import Sequence

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView, Verdict
from ndpsim.policy.rooms import Scope, divided
from ndpsim.registry import register
from ndpsim.spec.model import Time


@register("cache", "lru")
class Lru(Cache):
    """Keep the most recently used experts, over all layers or each layer its equal share.

    Source: Mixtral-offloading, arXiv 2312.17238 (one list per layer).
    """

    source = "Mixtral-offloading, arXiv 2312.17238"
    keeps_fetched = True
    scope: Scope = "layer"
    """One list for the whole GPU, or one per layer; what does not divide goes to the first."""
    decision_per_expert: Time = 10_000
    """Assumed: 10 ns, a move in a linked list in cached host memory."""

    def start(self, view: ResidencyView) -> CacheState:
        """Empty lists."""
        room = divided(view, self.scope, view.capacity)
        return _Lists(room, by_layer=self.scope == "layer")


class _Lists:
    """One list per layer or a single one, each with its own room; least recently used first."""

    def __init__(self, room: Sequence[int], *, by_layer: bool) -> None:
        self._room = room
        self._by_layer = by_layer
        self._held: list[OrderedDict[ExpertId, None]] = [OrderedDict() for _ in room]

    def _list_of(self, expert: ExpertId) -> int:
        return expert[0] if self._by_layer else 0

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        index = self._list_of(expert)
        held, room = self._held[index], self._room[index]
        if room == 0:
            return "refuse"
        held[expert] = None
        return held.popitem(last=False)[0] if len(held) > room else None

    def touch(self, expert: ExpertId) -> None:
        self._held[self._list_of(expert)].move_to_end(expert)
