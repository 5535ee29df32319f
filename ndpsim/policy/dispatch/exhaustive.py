"""DynaNDE's split: try every number of experts on the GPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from ndpsim.policy.contract import Dispatch, DispatchView, Plan, Slot
from ndpsim.registry import register
from ndpsim.spec.model import Time

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SplitCost:
    """What the rule expects of a split, in picoseconds."""

    n_gpu: int
    gpu_ps: int
    near_ps: int

    @property
    def layer_ps(self) -> int:
        """Both sides run at once."""
        return max(self.gpu_ps, self.near_ps)


@register("dispatch", "exhaustive")
class Exhaustive(Dispatch):
    """The first N experts to the GPU, the rest near data, for the N with the least layer time.

    As DynaNDE's simulator codes it (github Akash-N-Pai/DynaNDE-Simulator, arXiv 2609.00407):

    order   by tokens, most first; with `reuse`, in decode, by benefit, largest first, where an
            expert's benefit is its near time - (its GPU compute + its load, 0 if cached)
    GPU     sum of the loads of the N experts + compute of the last of them; 0 for N = 0. Cached
            experts have no load and compute while others load: the larger of the sum of loads and
            the sum of cached compute (without the last), + compute of the last
    near    sum of the rest + the layer's activation moves; 0 for an empty rest
    layer   the larger of both; of equal N the smallest

    Near times of one unit add up; where experts live on different units, the fullest counts.
    """

    source = "DynaNDE, arXiv 2609.00407"
    reuse: bool = False
    """Whether decode orders experts by benefit, so that cached ones come first."""
    decision_base: Time = 1_000_000
    """Assumed: one pass over the router's output in cached host memory, about 1 us."""
    decision_per_expert: Time = 50_000
    """Assumed: 50 ns, an expert's part in sorting and in running sums."""

    def plan(self, view: DispatchView) -> Plan:
        """The best split; experts on the GPU in the rule's order, cached ones first."""
        order = self.order(view)
        totals = list(map(max, *self._sides(view, order)))
        n_gpu = totals.index(min(totals))
        chosen = sorted(order[:n_gpu], key=lambda i: not view.slots[i].resident)
        return Plan(gpu=tuple(chosen), near=tuple(sorted(order[n_gpu:])))

    def order(self, view: DispatchView) -> list[int]:
        """Slot indices in the order in which they go to the GPU; ties by index."""
        slots = view.slots
        if not (self.reuse and view.phase == "decode"):
            return sorted(range(len(slots)), key=lambda i: (-slots[i].n_tokens, i))
        benefit = _each(slots, lambda s: _near_ps(view, s) - view.gpu_ps(s) - _load_ps(view, s))
        return sorted(range(len(slots)), key=lambda i: (-benefit[i], i))

    def splits(self, view: DispatchView, order: Sequence[int]) -> list[SplitCost]:
        """The cost of sending the first 0, 1, ... of an order to the GPU."""
        sides = zip(*self._sides(view, order), strict=True)
        return [SplitCost(n_gpu, *both) for n_gpu, both in enumerate(sides)]

    def _sides(self, view: DispatchView, order: Sequence[int]) -> tuple[list[int], list[int]]:
        """GPU time and near time with the first 0, 1, ... of an order on the GPU."""
        slots = [view.slots[i] for i in order]
        compute = _each(slots, view.gpu_ps)
        loads = _each(slots, lambda slot: _load_ps(view, slot))
        cached = [ps if slot.resident else 0 for slot, ps in zip(slots, compute, strict=True)]
        loaded, computed = list(accumulate(loads)), list(accumulate(cached))
        gpu_ps = [0]
        for load_ps, sum_ps, own_ps, last_ps in zip(loaded, computed, cached, compute, strict=True):
            gpu_ps.append(max(load_ps, sum_ps - own_ps) + last_ps)
        return gpu_ps, self._rests(view, slots)

    @staticmethod
    def _rests(view: DispatchView, slots: Sequence[Slot]) -> list[int]:
        """Near time without the first 0, 1, ... of the slots."""
        parts = _each(slots, view.near_ps)
        activations_ps = view.activations_ps
        load_ps: dict[str, int] = {}
        rests, fullest_ps = [0], 0
        for slot_parts in reversed(parts):
            for unit, part_ps in slot_parts:
                load_ps[unit] = unit_ps = load_ps.get(unit, 0) + part_ps
                if unit_ps > fullest_ps:
                    fullest_ps = unit_ps
            rests.append(fullest_ps + activations_ps)
        return rests[::-1]


def _each(slots: Sequence[Slot], cost: Callable[[Slot], T]) -> list[T]:
    """A cost of every slot, asked once per distinct slot."""
    known = {slot: cost(slot) for slot in dict.fromkeys(slots)}
    return [known[slot] for slot in slots]


def _near_ps(view: DispatchView, slot: Slot) -> int:
    return max((part_ps for _, part_ps in view.near_ps(slot)), default=0)


def _load_ps(view: DispatchView, slot: Slot) -> int:
    return 0 if slot.resident else view.fetch_ps(slot)
