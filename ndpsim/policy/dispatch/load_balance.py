"""The seed paper's balancer: as many experts to the GPU as finish together with the rest."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from ndpsim.policy.contract import Dispatch, DispatchView, Plan, Slot
from ndpsim.registry import register
from ndpsim.spec.model import Time

Parts: TypeAlias = tuple[tuple[str, int], ...]
"""(unit, picoseconds)."""


@register("dispatch", "load-balance")
class LoadBalance(Dispatch):
    """Copy x experts to the GPU so that GPU time and near-data time are as close as possible.

    Candidates are taken by tokens, then from the unit with most work left. For each x, the GPU runs
    its residents while copies arrive one after another; the units run the rest, kept from computing
    while a copy reads their ranks where the machine has no concurrent access. The x with the least
    maximum of both is taken, the smallest such x on a tie. One rule serves prefill and decode.
    Source: arXiv 2601.03992, reconstructed from public digests.
    """

    source = "arXiv 2601.03992"
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 50_000
    """Assumed: 50 ns, a few hundred instructions per candidate."""

    def plan(self, view: DispatchView) -> Plan:
        """The best split over all x."""
        split = _Split(view)
        slots = view.slots
        waiting = []
        for index in sorted(range(len(slots)), key=lambda i: (-slots[i].n_tokens, i)):
            if slots[index].resident:
                split.to_gpu(index)
            else:
                waiting.append(index)
        best_ps, n_best = split.makespan_ps, len(split.gpu)
        while waiting and split.gpu_end_ps < best_ps:
            index = split.next_of(waiting)
            waiting.remove(index)
            split.to_gpu(index)
            if split.makespan_ps < best_ps:
                best_ps, n_best = split.makespan_ps, len(split.gpu)
        gpu = split.gpu[:n_best]
        rest = sorted({*range(len(slots))}.difference(gpu))
        return Plan(gpu=tuple(gpu), near=tuple(rest))


class _Split:
    """Estimated ends of a split; it begins with all that is not resident near its data."""

    def __init__(self, view: DispatchView) -> None:
        self._view = view
        self._near: dict[Slot, Parts] = {}
        """Near work of each distinct slot that is not resident."""
        self._load_ps: dict[str, int] = {}
        self._arrival_ps = 0
        self.gpu: list[int] = []
        self.gpu_end_ps = 0
        for slot, count in Counter(view.slots).items():
            if not slot.resident:
                parts = self._near[slot] = view.near_ps(slot)
                self._load(parts, count)

    @property
    def makespan_ps(self) -> int:
        """The later of both sides' ends."""
        return max(self.gpu_end_ps, *self._load_ps.values(), 0)

    def next_of(self, waiting: Sequence[int]) -> int:
        """Of those with most tokens (they come first), one that relieves the fullest unit most."""
        slots = self._view.slots
        most = slots[waiting[0]].n_tokens
        first: dict[Slot, int] = {}
        for index in waiting:
            if slots[index].n_tokens != most:
                break
            first.setdefault(slots[index], index)
        if len(first) == 1:
            return waiting[0]
        load_ps = self._load_ps
        return max(
            first.values(),
            key=lambda i: max((load_ps[unit], part_ps) for unit, part_ps in self._near[slots[i]]),
        )

    def to_gpu(self, index: int) -> None:
        """Run a slot on the GPU behind those before it, copied first if it is not there."""
        slot = self._view.slots[index]
        if not slot.resident:
            self._arrival_ps += self._view.fetch_ps(slot)
            self.gpu_end_ps = max(self.gpu_end_ps, self._arrival_ps)
            self._load(self._near[slot], -1)
            self._load(self._view.blocked_ps(slot), 1)
        self.gpu_end_ps += self._view.gpu_ps(slot)
        self.gpu.append(index)

    def _load(self, parts: Parts, count: int) -> None:
        load_ps = self._load_ps
        for unit, part_ps in parts:
            load_ps[unit] = load_ps.get(unit, 0) + count * part_ps
