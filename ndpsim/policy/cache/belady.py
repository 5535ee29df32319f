"""Belady's rule, for which the future must be known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy.contract import Cache, ExpertId, Need, ResidencyView, Verdict, WatchingState
from ndpsim.policy.heap import Ranking
from ndpsim.registry import register


@register("cache", "belady")
class Belady(Cache):
    """Keep what is needed soonest again; an arrival needed later than all held is refused.

    An oracle: it sees the routing of the whole request (Belady, IBM Systems Journal 5, 1966). Its
    decisions cost nothing.
    """

    source = "Belady, IBM Systems Journal 5 (1966)"
    keeps_fetched = True
    watches = True

    @property
    def needs(self) -> frozenset[Need]:
        """The future."""
        return frozenset({"future"})

    def start(self, view: ResidencyView) -> WatchingState:
        """Nothing held."""
        return _Soonest(view.capacity, view.n_moe_layers, view.future)


class _Soonest:
    def __init__(self, room: int, n_layers: int, future: Sequence[NDArray[np.int16]]) -> None:
        self._room = room
        self._n_layers = n_layers
        self._uses: dict[ExpertId, list[int]] = {}
        for step in range(len(future) - 1, -1, -1):
            for layer in range(n_layers):
                for expert in np.unique(future[step][:, layer]).tolist():
                    if expert >= 0:
                        uses = self._uses.setdefault((layer, expert), [])
                        uses.append(step * n_layers + layer)
        self._n_seen = [0] * n_layers
        self._now = -1
        self._held = Ranking()

    def observe(self, layer: int, active: Sequence[tuple[int, int]]) -> None:
        """Time passes; what is used now and held is next needed later."""
        self._now = self._n_seen[layer] * self._n_layers + layer
        self._n_seen[layer] += 1
        for expert, _ in active:
            if (layer, expert) in self._held:
                self._held.put((layer, expert), self._key((layer, expert)))

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        if not self._room:
            return "refuse"
        self._held.put(expert, self._key(expert))
        if len(self._held) <= self._room:
            return None
        leaves = self._held.pop()
        return "refuse" if leaves == expert else leaves

    def touch(self, expert: ExpertId) -> None:
        """Every use was seen by `observe`."""

    def _key(self, expert: ExpertId) -> float:
        """Least for what is needed last: minus the time of its next use, -inf for none."""
        uses = self._uses.get(expert, [])
        while uses and uses[-1] <= self._now:
            uses.pop()
        return -uses[-1] if uses else -float("inf")
