"""Least recently used, with a buffer for what was fetched on speculation."""

from collections import OrderedDict

from ndpsim.policy.contract import Cache, CacheState, ExpertId, ResidencyView, Verdict
from ndpsim.policy.rooms import divided
from ndpsim.registry import register
from ndpsim.spec.model import CountOrZero, Time


@register("cache", "staged-lru")
class StagedLru(Cache):
    """One list per layer of the experts used last; prefetched ones wait in a buffer until used.

    A speculative load never drives a used expert out: it enters its layer's list when it is used
    and otherwise leaves the buffer first in, first out (Mixtral-offloading, arXiv 2312.17238).
    """

    source = "Mixtral-offloading, arXiv 2312.17238"
    keeps_fetched = True
    staging: CountOrZero = 4
    """Experts in the buffer, taken from the GPU's room; 4 as in the published repository."""
    decision_per_expert: Time = 10_000
    """Assumed: 10 ns, a move in a linked list in cached host memory."""

    def start(self, view: ResidencyView) -> CacheState:
        """Empty lists and buffer; the buffer is given room after one expert per layer."""
        staging = max(0, min(self.staging, view.capacity - view.n_moe_layers))
        return _Lists(divided(view, "layer", view.capacity - staging), staging)


class _Lists:
    def __init__(self, room: list[int], staging: int) -> None:
        self._room = room
        self._staging = staging
        self._held: list[OrderedDict[ExpertId, None]] = [OrderedDict() for _ in room]
        self._staged: OrderedDict[ExpertId, None] = OrderedDict()
        self._overfull: OrderedDict[int, None] = OrderedDict()
        """Layers that hold more than their room, because the buffer gave them experts."""

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        return self._stage(expert) if prefetched else self._hold(expert)

    def touch(self, expert: ExpertId) -> None:
        held = self._held[expert[0]]
        if expert in held:
            held.move_to_end(expert)
            return
        del self._staged[expert]
        held[expert] = None
        if len(held) > self._room[expert[0]]:
            self._overfull[expert[0]] = None

    def _hold(self, expert: ExpertId) -> Verdict:
        layer = expert[0]
        if not self._room[layer]:
            return "refuse"
        self._held[layer][expert] = None
        return self._leave(layer) if len(self._held[layer]) > self._room[layer] else None

    def _stage(self, expert: ExpertId) -> Verdict:
        if not self._staging:
            return "refuse"
        self._staged[expert] = None
        if len(self._staged) > self._staging:
            return self._staged.popitem(last=False)[0]
        return self._leave(next(iter(self._overfull))) if self._overfull else None

    def _leave(self, layer: int) -> ExpertId:
        held = self._held[layer]
        expert = held.popitem(last=False)[0]
        if len(held) <= self._room[layer]:
            self._overfull.pop(layer, None)
        return expert
