"""Least frequently used."""

from typing import Literal

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView, Verdict
from ndpsim.policy.heap import Ranking
from ndpsim.policy.rooms import Scope, divided
from ndpsim.registry import register
from ndpsim.spec.model import Time


@register("cache", "lfu")
class Lfu(Cache):
    """Keep the experts used most often on the GPU so far; counts outlive eviction.

    As DynaNDE's simulator keeps its cache (arXiv 2609.00407): an expert that runs on the GPU counts
    one use and is held; beyond the room, the least used leave, lower expert first on a tie.
    """

    source = "DynaNDE, arXiv 2609.00407"
    keeps_fetched = True
    scope: Scope = "layer"
    """One list for the whole GPU, or one per layer; what does not divide goes to the first."""
    size: int | Literal["fit"] = "fit"
    """Experts per list, or as many as fit; DynaNDE uses 16 per layer."""
    decision_per_expert: Time = 20_000
    """Assumed: 20 ns, a step in a heap in cached host memory."""

    def start(self, view: ResidencyView) -> CacheState:
        """Empty lists."""
        room = divided(view, self.scope, view.capacity)
        if self.size != "fit":
            room = [min(self.size, n) for n in room]
        return _Counts(room)


class _Counts:
    def __init__(self, room: list[int]) -> None:
        self._room = room
        self._used: dict[ExpertId, int] = {}
        self._held = [Ranking() for _ in room]

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        """A prefetched expert is not used yet, so it ranks by its uses before."""
        index = expert[0] if len(self._room) > 1 else 0
        held = self._held[index]
        if not self._room[index]:
            return "refuse"
        self._count(expert, held, used=not prefetched)
        if len(held) <= self._room[index]:
            return None
        leaves = held.pop()
        return "refuse" if leaves == expert else leaves

    def touch(self, expert: ExpertId) -> None:
        self._count(expert, self._held[expert[0] if len(self._room) > 1 else 0], used=True)

    def _count(self, expert: ExpertId, held: Ranking, *, used: bool) -> None:
        n_used = self._used[expert] = self._used.get(expert, 0) + used
        held.put(expert, n_used)
