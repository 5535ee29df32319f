"""One request on a machine: steps become stages, stages become outcomes, outcomes add up.

The session keeps what outlives a stage: which experts are on the GPU, which are on their way, and
the count of expert stages (it decides the refresh phase). Everything else is `simulate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ndpsim.memo import Memo
from ndpsim.policy import ExpertId, Phase, Placement, Plan, SchedulerSpec, Slot
from ndpsim.system.machine import GPU, Machine
from ndpsim.system.situation import Outcome, Queue, Situation, Transfer
from ndpsim.system.stage import queue_of, simulate
from ndpsim.system.symmetry import AS_NAMED, Active, Renaming, Symmetry, rename
from ndpsim.workload import (
    Operators,
    Step,
    attention_operators,
    dense_operators,
    embedding_operators,
    head_operators,
    router_operators,
    shared_operators,
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """Picoseconds of one step; arrays are by decoder layer."""

    phase: Phase
    duration_ps: int
    attention_ps: NDArray[np.int64]
    experts_ps: NDArray[np.int64]
    n_gpu: NDArray[np.int64]
    """(token, expert) pairs computed on the GPU."""
    n_near: NDArray[np.int64]
    """(token, expert) pairs computed near data."""
    n_cpu: NDArray[np.int64]
    """(token, expert) pairs computed on the host CPU."""
    n_hit: NDArray[np.int64]
    """(token, expert) pairs whose expert was resident when routed."""


@dataclass
class Tally:
    """How often each outcome occurred, under which names; kept by identity until the end."""

    _seen: dict[tuple[int, int], tuple[Outcome, Renaming]] = field(default_factory=dict)
    _counts: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, outcome: Outcome, renaming: Renaming) -> None:
        """Count one occurrence of an outcome whose resources stand for others."""
        key = (id(outcome), id(renaming))
        self._seen[key] = (outcome, renaming)
        self._counts[key] = self._counts.get(key, 0) + 1

    @property
    def n_stages(self) -> int:
        """Stages counted."""
        return sum(self._counts.values())

    def total(self, amounts: str) -> dict[str, int]:
        """The sum of a field of pairs over all occurrences, by resource."""
        total: dict[str, int] = {}
        for key, (outcome, renaming) in self._seen.items():
            for resource, amount in getattr(outcome, amounts):
                name = rename(resource, renaming) if renaming else resource
                total[name] = total.get(name, 0) + amount * self._counts[key]
        return dict(sorted(total.items()))


@dataclass(frozen=True, slots=True)
class GpuRoom:
    """What prefetch and cache policies see of the machine (a `ResidencyView`)."""

    n_moe_layers: int
    n_experts: int
    capacity: int


class Session:
    """The passage of one request (a batch of sequences in lock step) through the machine."""

    def __init__(
        self,
        memo: Memo,
        machine: Machine,
        scheduler: SchedulerSpec,
        placement: Placement,
        expert_capacity: int,
    ) -> None:
        self._memo = memo
        self._machine = machine
        self._dispatch = scheduler.dispatch
        model = machine.model
        self._home_of = placement.home_of.tolist()
        room = GpuRoom(model.n_moe_layers, model.n_experts, expert_capacity)
        self._moe_index = {layer: index for index, layer in enumerate(model.moe_layers)}
        self._prefetch = scheduler.prefetch.start(room)
        self._watches = scheduler.prefetch.watches
        self._cache = scheduler.cache.start(room)
        self._keeps_fetched = scheduler.cache.keeps_fetched
        on_gpu = [home.shards[0].unit == GPU for home in placement.homes]
        self._resident = [[on_gpu[home] for home in row] for row in self._home_of]
        self._n_resident = 0
        self._coming: list[ExpertId] = []
        self._queue: Queue = ()
        self._n_expert_stages = 0
        self._symmetry = Symmetry(machine)
        self.tally = Tally()
        self.peak_resident = 0
        """Most experts on the GPU at a time."""
        self.n_prefetched = 0
        """Experts that arrived by prefetch."""
        self.elapsed_ps = 0
        """Time of all stages so far."""
        self.gpu_only_ps = 0
        """Time of the stages in which only the GPU computes."""

    def step(self, phase: Phase, step: Step, routed: NDArray[np.int16]) -> StepResult:
        """Run one step; `routed` has shape (n_tokens, n_moe_layers, top_k), -1 for none."""
        model = self._machine.model
        start, fronts, end = self._gpu_situations(phase, step)
        shared = shared_operators(model, self._machine.formats, step.n_tokens)
        watched = phase in self._watches
        active = _active_experts(routed, model.n_experts)
        by_layer = np.zeros((6, model.n_layers), dtype=np.int64)
        ends_ps = self._gpu_stage(start)
        for layer, front in enumerate(fronts):
            by_layer[0, layer] = self._gpu_stage(front)
            index = self._moe_index.get(layer)
            if index is None:
                continue
            if watched:
                self._prefetch.observe(index, routed[:, index])
            by_layer[1:, layer] = self._expert_stage(phase, step, shared, index, active[index])
        ends_ps += self._gpu_stage(end)
        if watched:
            self._enqueue(self._prefetch.loads(phase))
        return StepResult(phase, ends_ps + int(by_layer[:2].sum()), *by_layer)

    def _gpu_situations(
        self, phase: Phase, step: Step
    ) -> tuple[Situation, list[Situation], Situation]:
        """A step's stages on the GPU alone, nothing else under way.

        The embedding; by layer what comes before the experts (a dense layer is all in here); and
        the output head.
        """
        model, formats = self._machine.model, self._machine.formats
        sliding, dense = set(model.sliding_layers), set(model.dense_layers)

        def stage(operators: Operators) -> Situation:
            return Situation("gpu", phase, step.n_tokens, operators)

        def front(is_sliding: bool, is_dense: bool) -> Situation:
            attention = attention_operators(model, formats, step, sliding=is_sliding)
            rest = dense_operators if is_dense else router_operators
            return stage(attention + rest(model, formats, step.n_tokens))

        kinds = [(layer in sliding, layer in dense) for layer in range(model.n_layers)]
        distinct = {kind: front(*kind) for kind in set(kinds)}
        return (
            stage(embedding_operators(model, formats, step.n_tokens)),
            [distinct[kind] for kind in kinds],
            stage(head_operators(model, formats, step.batch)),
        )

    def _gpu_stage(self, situation: Situation) -> int:
        if self._queue:
            situation = replace(situation, queue=self._queue)
        duration_ps = self._simulate(situation).duration_ps
        self.gpu_only_ps += duration_ps
        return duration_ps

    def _expert_stage(
        self,
        phase: Phase,
        step: Step,
        shared: Operators,
        layer: int,
        active: Sequence[tuple[int, int]],
    ) -> tuple[int, int, int, int, int]:
        """(duration, pairs on the GPU, near data, on the CPU, resident) of one layer's experts."""
        homes, resident = self._home_of[layer], self._resident[layer]
        keys, renaming = self._in_order([(homes[e], resident[e], n, e) for e, n in active])
        slots = tuple(Slot(home, held, n_tokens) for home, held, n_tokens, _ in keys)
        refresh = self._refresh_phase() if self._dispatch.near else 0
        situation = Situation("experts", phase, step.n_tokens, shared, slots, self._queue, refresh)
        self._n_expert_stages += 1
        outcome = self._simulate(situation, renaming)
        assert outcome.plan is not None
        if self._keeps_fetched:
            self._use(layer, [key[3] for key in keys], slots, outcome.plan)
        plan = outcome.plan
        n_gpu, n_near, n_cpu = (
            sum(slots[i].n_tokens for i in device) for device in (plan.gpu, plan.near, plan.cpu)
        )
        n_hit = sum(slot.n_tokens for slot in slots if slot.resident)
        return outcome.duration_ps, n_gpu, n_near, n_cpu, n_hit

    def _refresh_phase(self) -> int:
        """Where in a refresh interval the next expert stage starts."""
        return van_der_corput(self._n_expert_stages, self._machine.system.refresh_phases)

    def _in_order(self, active: list[Active]) -> tuple[list[Active], Renaming]:
        """Canonical order; beside transfers under way, which name homes, units keep theirs."""
        if self._queue:
            return sorted(active), AS_NAMED
        return self._symmetry.canonical(active)

    def _simulate(self, situation: Situation, renaming: Renaming = AS_NAMED) -> Outcome:
        outcome = self._memo(simulate, self._machine, self._dispatch, situation)
        self.tally.add(outcome, renaming)
        self.elapsed_ps += outcome.duration_ps
        if situation.queue:
            self._queue = outcome.queue
            self._arrive(outcome.n_arrived)
        return outcome

    # --- residency -----------------------------------------------------------------------------

    def _arrive(self, n_arrived: int) -> None:
        """Prefetched experts are usable from the next stage on."""
        arrived, self._coming = self._coming[:n_arrived], self._coming[n_arrived:]
        self.n_prefetched += n_arrived
        for expert in arrived:
            self._admit(expert, prefetched=True)

    def _use(self, layer: int, experts: list[int], slots: tuple[Slot, ...], plan: Plan) -> None:
        """Report uses of residents, then offer what was fetched to the cache, in GPU order."""
        for index in plan.gpu:
            if self._resident[layer][experts[index]]:
                self._cache.touch((layer, experts[index]))
        for index in plan.gpu:
            if not slots[index].resident:
                self._admit((layer, experts[index]), prefetched=False)

    def _admit(self, expert: ExpertId, *, prefetched: bool) -> None:
        layer, index = expert
        if self._resident[layer][index]:
            return
        verdict = self._cache.admit(expert, prefetched=prefetched)
        if verdict == "refuse":
            return
        self._resident[layer][index] = True
        self._n_resident += 1
        if verdict is not None:
            self._resident[verdict[0]][verdict[1]] = False
            self._n_resident -= 1
        self.peak_resident = max(self.peak_resident, self._n_resident)

    def _enqueue(self, loads: Sequence[ExpertId]) -> None:
        """Put wanted experts on their way behind those already coming."""
        coming = set(self._coming)
        wanted = [e for e in loads if e not in coming and not self._resident[e[0]][e[1]]]
        copies = self._machine.copies
        transfers = [
            Transfer(home, tuple(copy.n_bytes for copy in copies[home]))
            for home in (self._home_of[layer][index] for layer, index in wanted)
        ]
        under_way = [t for transfer, count in self._queue for t in [transfer] * count]
        self._coming += wanted
        self._queue = queue_of(under_way + transfers)


def _active_experts(routed: NDArray[np.int16], n_experts: int) -> list[list[tuple[int, int]]]:
    """By MoE layer: (expert, tokens) of every expert that got a token, ascending."""
    n_tokens, n_layers, _ = routed.shape
    if n_tokens == 1:
        return [[(e, 1) for e in sorted(row) if e >= 0] for row in routed[0].tolist()]
    shifted = routed.astype(np.int64) + 1 + np.arange(n_layers)[None, :, None] * (n_experts + 1)
    counts = np.bincount(shifted.ravel(), minlength=n_layers * (n_experts + 1))
    counts = counts.reshape(n_layers, n_experts + 1)[:, 1:]
    return [[(int(e), int(row[e])) for e in np.flatnonzero(row)] for row in counts]


def van_der_corput(index: int, n_phases: int) -> int:
    """Phase of the index-th stage: the base-2 radical inverse of `index`, in `n_phases` parts.

    >>> [van_der_corput(i, 8) for i in range(8)]
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    n_bits = max(1, index.bit_length())
    reverse = int(f"{index:0{n_bits}b}"[::-1], 2)
    return reverse * n_phases >> n_bits
