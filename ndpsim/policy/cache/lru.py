"""Least recently used."""

from collections import OrderedDict

from typing import Literal

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView, Verdict
from ndpsim.registry import register


@register("cache", "lru")
class Lru(Cache):
    """Keep the most recently used experts, over all layers or each layer its equal share."""

    keeps_fetched = True
    scope: Literal["global", "layer"] = "layer"
    """One list for the whole GPU, or one per layer (Mixtral-offloading, arXiv 2312.17238)."""

    def start(self, view: ResidencyView) -> CacheState:
        """Empty lists."""
        if self.scope == "global":
            return _Lists(view.capacity, by_layer=False)
        return _Lists(view.capacity // view.n_moe_layers, by_layer=True)


class _Lists:
    def __init__(self, capacity: int, *, by_layer: bool) -> None:
        self._capacity = capacity
        self._by_layer = by_layer
        self._lists: dict[int, OrderedDict[ExpertId, None]] = {}

    def _list(self, expert: ExpertId) -> OrderedDict[ExpertId, None]:
        return self._lists.setdefault(expert[0] if self._by_layer else 0, OrderedDict())

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        if self._capacity == 0:
            return "refuse"
        held = self._list(expert)
        held[expert] = None
        return held.popitem(last=False)[0] if len(held) > self._capacity else None

    def touch(self, expert: ExpertId) -> None:
        self._list(expert).move_to_end(expert)
