"""First in, first out."""

from collections import deque

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView, Verdict
from ndpsim.policy.rooms import Scope, divided
from ndpsim.registry import register
from ndpsim.spec.model import Time


@register("cache", "fifo")
class Fifo(Cache):
    """Keep what arrived last; use does not matter (SiDA-MoE's eviction)."""

    source = "SiDA-MoE, MLSys 2024, arXiv 2310.18859"
    keeps_fetched = True
    scope: Scope = "layer"
    """One queue for the whole GPU, or one per layer; what does not divide goes to the first."""
    decision_per_expert: Time = 10_000
    """Assumed: 10 ns, a queue's head in cached host memory."""

    def start(self, view: ResidencyView) -> CacheState:
        """Empty queues."""
        return _Queues(divided(view, self.scope, view.capacity))


class _Queues:
    def __init__(self, room: list[int]) -> None:
        self._room = room
        self._held: list[deque[ExpertId]] = [deque() for _ in room]

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        index = expert[0] if len(self._room) > 1 else 0
        held = self._held[index]
        if not self._room[index]:
            return "refuse"
        held.append(expert)
        return held.popleft() if len(held) > self._room[index] else None

    def touch(self, expert: ExpertId) -> None:
        """Use does not matter."""
