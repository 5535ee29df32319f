"""Which experts are on the GPU, which are on their way, and the policies that decide it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ndpsim.memo import Memo
from ndpsim.policy import (
    ExpertId,
    LookaheadState,
    Phase,
    Placement,
    Plan,
    PreloadState,
    SchedulerSpec,
    Slot,
    WatchingState,
)
from ndpsim.system.costs import StageCosts
from ndpsim.system.machine import GPU, Machine
from ndpsim.system.situation import Queue, Transfer

T = TypeVar("T")


@dataclass(frozen=True)
class Knowledge:
    """What policies may know beyond the routing so far; None where none of them needs it."""

    profile: NDArray[np.int64] | None = None
    """Calibration counts, (n_moe_layers, n_experts)."""
    weights: NDArray[np.float16] | None = None
    """Router weights, (batch, positions, n_moe_layers, top_k)."""
    predicted: NDArray[np.int16] | None = None
    """By layer, ids predicted for it ahead of time: (batch, positions, n_moe_layers, width)."""
    future: tuple[NDArray[np.int16], ...] | None = None
    """The request's routing by step, (n_tokens, n_moe_layers, top_k)."""


class GpuRoom:
    """What prefetch and cache policies see of machine and request (a `ResidencyView`)."""

    def __init__(self, memo: Memo, machine: Machine, capacity: int, knowledge: Knowledge) -> None:
        self._memo = memo
        self._machine = machine
        self._knowledge = knowledge
        self.n_moe_layers = machine.model.n_moe_layers
        self.moe_layers = machine.model.moe_layers
        self.n_experts = machine.model.n_experts
        self.capacity = capacity

    @cached_property
    def gpu_ps(self) -> int:
        """Estimated time of one resident expert with one token on the GPU."""
        return self._costs.gpu_ps(Slot(0, True, 1))

    @cached_property
    def home_ps(self) -> int:
        """Estimated time of one expert with one token at home, spread evenly over all units."""
        parts = self._costs.near_ps(Slot(0, False, 1)) if self._machine.system.ndp else ()
        if parts:
            return sum(part_ps for _, part_ps in parts) // len(self._machine.units)
        return self._costs.cpu_ps(Slot(0, False, 1))

    @property
    def _costs(self) -> StageCosts:
        return StageCosts(self._memo, self._machine, "decode", ())

    @property
    def profile(self) -> NDArray[np.int64]:
        """Calibration counts, (n_moe_layers, n_experts)."""
        return known(self._knowledge.profile, "profile")

    @property
    def future(self) -> tuple[NDArray[np.int16], ...]:
        """The request's routing by step."""
        return known(self._knowledge.future, "future")


def known(value: T | None, need: str) -> T:
    """What a policy asks for, if it said that it needs it."""
    if value is None:
        raise LookupError(f"a policy that uses '{need}' must list it in its 'needs'")
    return value


class Residency:
    """Experts on the GPU and on their way, between the stages of one request."""

    def __init__(
        self,
        machine: Machine,
        scheduler: SchedulerSpec,
        placement: Placement,
        room: GpuRoom,
    ) -> None:
        self._machine = machine
        self._home_of = placement.home_of.tolist()
        prefetch, cache = scheduler.prefetch, scheduler.cache
        self._prefetch_policy = prefetch
        self._cache_policy = cache
        self._prefetch = prefetch.start(room)
        self._cache = cache.start(room)
        self._lookahead = prefetch.lookahead
        self._on_gpu = [home.shards[0].unit == GPU for home in placement.homes]
        self.resident = [[self._on_gpu[home] for home in row] for row in self._home_of]
        """By MoE layer and expert."""
        self._whole = [
            Transfer(home, tuple(copy.n_bytes for copy in copies))
            for home, copies in enumerate(machine.copies)
        ]
        self._n_resident = 0
        self._coming: list[ExpertId] = []
        self.queue: Queue = ()
        """Transfers on their way."""
        self.peak = 0
        """Most experts on the GPU at a time."""
        self.n_prefetched = 0
        """Experts that arrived by prefetch."""
        if prefetch.preloads:
            for expert in cast(PreloadState, self._prefetch).preloads():
                self._admit(expert, prefetched=True)
        self.n_preloaded = self._n_resident
        """Experts on the GPU before the request arrived."""

    @property
    def settled(self) -> bool:
        """Whether decode can change nothing here any more."""
        return not (
            self.queue
            or self._lookahead
            or "decode" in self._prefetch_policy.watches
            or self._cache_policy.keeps_fetched
            or self._cache_policy.watches
        )

    def decision_ps(self, phase: Phase, n_active: int) -> int:
        """Host time of prefetch and cache decisions at one layer."""
        total_ps = self._cache_policy.decision_ps(n_active)
        if self._lookahead or phase in self._prefetch_policy.watches:
            total_ps += self._prefetch_policy.decision_ps(n_active)
        return total_ps

    def route(
        self,
        phase: Phase,
        layer: int,
        routed: NDArray[np.int16],
        weights: NDArray[np.float16] | None,
        active: Sequence[tuple[int, int]],
    ) -> dict[int, tuple[int, ...]]:
        """A layer is routed. Bytes left by expert, of its copies that speculation had begun."""
        if phase in self._prefetch_policy.watches:
            self._prefetch.observe(layer, routed, weights)
        if self._cache_policy.watches:
            cast(WatchingState, self._cache).observe(layer, active)
        return self._withdraw(layer, active) if self._lookahead and self._coming else {}

    def look_ahead(self, layer: int, predicted: NDArray[np.int16]) -> None:
        """Put what is predicted for a later layer on its way."""
        self._enqueue(cast(LookaheadState, self._prefetch).ahead(layer, predicted))

    def end(self, phase: Phase) -> None:
        """A step has ended."""
        if phase in self._prefetch_policy.watches:
            self._enqueue(self._prefetch.loads(phase))

    def carry(self, queue: Queue, n_arrived: int) -> None:
        """A stage has moved transfers on; arrived experts are usable from the next stage on."""
        self.queue = queue
        if not n_arrived:
            return
        arrived, self._coming = self._coming[:n_arrived], self._coming[n_arrived:]
        self.n_prefetched += n_arrived
        for expert in arrived:
            self._admit(expert, prefetched=True)

    def use(self, layer: int, experts: list[tuple[bool, int]], plan: Plan) -> None:
        """Report uses of residents, then offer what was fetched to the cache, in GPU order.

        `experts` tells by slot whether the expert was resident when routed, and which it is.
        """
        if not self._cache_policy.keeps_fetched:
            return
        on_gpu = [experts[index] for index in plan.gpu]
        for _, expert in on_gpu:
            if self.resident[layer][expert] and not self._on_gpu[self._home_of[layer][expert]]:
                self._cache.touch((layer, expert))
        for held, expert in on_gpu:
            if not held:
                self._admit((layer, expert), prefetched=False)

    def _admit(self, expert: ExpertId, *, prefetched: bool) -> None:
        layer, index = expert
        if self.resident[layer][index]:
            return
        verdict = self._cache.admit(expert, prefetched=prefetched)
        if verdict == "refuse":
            return
        self.resident[layer][index] = True
        self._n_resident += 1
        if verdict is not None:
            self.resident[verdict[0]][verdict[1]] = False
            self._n_resident -= 1
        self.peak = max(self.peak, self._n_resident)

    def _enqueue(self, loads: Sequence[ExpertId]) -> None:
        """Put wanted experts on their way behind those already coming."""
        if not loads:
            return
        coming = set(self._coming)
        wanted = [e for e in loads if e not in coming and not self.resident[e[0]][e[1]]]
        if not wanted:
            return
        transfers = [self._whole[self._home_of[layer][expert]] for layer, expert in wanted]
        self._coming += wanted
        self.queue = queue_of(_each(self.queue) + transfers if self.queue else transfers)

    def _withdraw(
        self, layer: int, active: Sequence[tuple[int, int]]
    ) -> dict[int, tuple[int, ...]]:
        """Take a layer's transfers out of the queue; what is left of those begun and needed."""
        if all(expert[0] != layer for expert in self._coming):
            return {}
        pairs = list(zip(self._coming, _each(self.queue), strict=True))
        kept = [pair for pair in pairs if pair[0][0] != layer]
        self._coming = [expert for expert, _ in kept]
        self.queue = queue_of([transfer for _, transfer in kept])
        needed = {expert for expert, _ in active}
        return {
            expert[1]: transfer.left
            for expert, transfer in pairs
            if expert[0] == layer and expert[1] in needed and transfer != self._whole[transfer.home]
        }


def queue_of(transfers: Sequence[Transfer]) -> Queue:
    """Transfers with equal neighbours counted."""
    return tuple((transfer, len(list(group))) for transfer, group in groupby(transfers))


def _each(queue: Queue) -> list[Transfer]:
    return [transfer for transfer, count in queue for _ in range(count)]
