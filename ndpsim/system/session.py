"""One request on a machine: steps become stages, stages become outcomes, outcomes add up.

The session keeps what outlives a stage: residency, and the count of expert stages (it decides the
refresh phase). Everything else is `simulate`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndpsim.memo import Memo
from ndpsim.policy import Phase, Placement, Plan, SchedulerSpec, Slot
from ndpsim.system.machine import Machine
from ndpsim.system.residency import GpuRoom, Knowledge, Residency
from ndpsim.system.situation import Outcome, Situation
from ndpsim.system.stage import simulate
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

NOTHING_KNOWN: Final = Knowledge()
NONE_LEFT: Final[Mapping[int, tuple[int, ...]]] = {}


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


Told: TypeAlias = tuple[int, int, int, int, int]
"""Of an expert stage: its duration; pairs on the GPU, near data, on the CPU, resident."""


@dataclass
class Tally:
    """How often each outcome occurred, under which names; kept by identity until the end."""

    _seen: dict[tuple[int, int], tuple[Outcome, Renaming]] = field(default_factory=dict)
    _counts: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, outcome: Outcome, renaming: Renaming, times: int = 1) -> None:
        """Count occurrences of an outcome whose resources stand for others."""
        key = (id(outcome), id(renaming))
        self._seen[key] = (outcome, renaming)
        self._counts[key] = self._counts.get(key, 0) + times

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


class Session:
    """The passage of one request (a batch of sequences in lock step) through the machine."""

    def __init__(
        self,
        memo: Memo,
        machine: Machine,
        scheduler: SchedulerSpec,
        placement: Placement,
        expert_capacity: int,
        knowledge: Knowledge = NOTHING_KNOWN,
    ) -> None:
        self._memo = memo
        self._machine = machine
        self._dispatch = scheduler.dispatch
        model = machine.model
        self._home_of = placement.home_of.tolist()
        self._moe_index = {layer: index for index, layer in enumerate(model.moe_layers)}
        room = GpuRoom(memo, machine, expert_capacity, knowledge)
        self.residency = Residency(machine, scheduler, placement, room)
        self._knowledge = knowledge
        self._lookahead = scheduler.prefetch.lookahead
        self._evaluates_gate = scheduler.prefetch.evaluates_gate
        self._n_expert_stages = 0
        self._symmetry = Symmetry(machine)
        self.tally = Tally()
        self.elapsed_ps = 0
        """Time of all stages so far."""
        self.gpu_only_ps = 0
        """Time of the stages in which only the GPU computes."""

    @property
    def peak_resident(self) -> int:
        """Most experts on the GPU at a time."""
        return self.residency.peak

    @property
    def n_prefetched(self) -> int:
        """Experts that arrived by prefetch."""
        return self.residency.n_prefetched

    def step(self, phase: Phase, step: Step, routed: NDArray[np.int16]) -> StepResult:
        """Run one step; `routed` has shape (n_tokens, n_moe_layers, top_k), -1 for none."""
        model = self._machine.model
        start, fronts, end = self._gpu_situations(phase, step)
        work = self._layer_work(phase, step)
        active = _active_experts(routed, model.n_experts)
        by_layer = np.zeros((6, model.n_layers), dtype=np.int64)
        ends_ps = self._gpu_stage(start)
        for layer, front in enumerate(fronts):
            by_layer[0, layer] = self._gpu_stage(front)
            index = self._moe_index.get(layer)
            if index is not None:
                by_layer[1:, layer] = self._layer(work, index, routed[:, index], active[index])
        ends_ps += self._gpu_stage(end)
        self.residency.end(phase)
        return StepResult(phase, ends_ps + int(by_layer[:2].sum()), *by_layer)

    @property
    def settled(self) -> bool:
        """Whether decode can change no residency any more and stages are remembered.

        All further stages are then known at once; `fold` runs them.
        """
        return self._memo.remembers and self.residency.settled

    def fold(self, steps: Sequence[Step], routed: NDArray[np.int16]) -> list[StepResult]:
        """As `step` for each of many decode steps of one sequence, once `settled`.

        Every layer's experts are keyed at once, each distinct stage is simulated, and outcomes are
        counted. `routed` has shape (n_steps, n_moe_layers, top_k), all ids valid.
        """
        model, n_steps = self._machine.model, len(steps)
        by_layer = np.zeros((n_steps, 6, model.n_layers), dtype=np.int64)
        ends_ps = np.zeros(n_steps, dtype=np.int64)
        for index, step in enumerate(steps):
            start, fronts, end = self._gpu_situations("decode", step)
            times = Counter(fronts)
            front_ps = {front: self._gpu_stage(front, times[front]) for front in times}
            by_layer[index, 0] = [front_ps[front] for front in fronts]
            ends_ps[index] = self._gpu_stage(start) + self._gpu_stage(end)
        by_layer[:, 1:, list(self._moe_index)] = self._fold_experts(steps[0], routed)
        durations = ends_ps + by_layer[:, :2].sum(axis=(1, 2))
        return [
            StepResult("decode", int(duration_ps), *rows)
            for duration_ps, rows in zip(durations, by_layer, strict=True)
        ]

    def _fold_experts(self, step: Step, routed: NDArray[np.int16]) -> NDArray[np.int64]:
        """What `_expert_stage` tells, for all layers of many steps: (n_steps, 5, n_moe_layers)."""
        work = self._layer_work("decode", step)
        n_steps, n_layers, top_k = routed.shape
        layers = np.arange(n_layers)[:, None]
        kinds = (
            2 * np.array(self._home_of)[layers, routed]
            + np.array(self.residency.resident)[layers, routed]
        )
        kinds.sort(axis=-1)
        rows, row_of = np.unique(kinds.reshape(-1, top_k), axis=0, return_inverse=True)
        phases = np.array([self._next_refresh_phase() for _ in range(n_steps * n_layers)])
        stages, stage_of, times = np.unique(
            np.stack([row_of.ravel(), phases]), axis=1, return_inverse=True, return_counts=True
        )
        told = np.empty((len(times), 5), dtype=np.int64)
        for index, (row, phase) in enumerate(stages.T.tolist()):
            active = [
                (kind >> 1, bool(kind & 1), 1, i) for i, kind in enumerate(rows[row].tolist())
            ]
            told[index] = self._experts(work, active, phase, times=int(times[index]))[0]
        return told[stage_of.ravel()].reshape(n_steps, n_layers, 5).transpose(0, 2, 1)

    def _layer_work(self, phase: Phase, step: Step) -> "_LayerWork":
        """What the MoE layers of a step have in common."""
        model, formats, knowledge = self._machine.model, self._machine.formats, self._knowledge
        positions = slice(step.context - step.n_query, step.context)
        weights = _fed(knowledge.weights, positions, step)
        predicted = _fed(knowledge.predicted, positions, step) if self._lookahead else None
        gate = self._evaluates_gate and predicted is not None
        return _LayerWork(
            phase,
            step,
            shared_operators(model, formats, step.n_tokens),
            router_operators(model, formats, step.n_tokens) if gate else (),
            weights,
            predicted,
        )

    def _layer(
        self,
        work: "_LayerWork",
        layer: int,
        routed: NDArray[np.int16],
        active: Sequence[tuple[int, int]],
    ) -> Told:
        """One layer's experts, given (expert, tokens) of those that are active."""
        residency = self.residency
        weights = None if work.weights is None else work.weights[:, layer]
        left = residency.route(work.phase, layer, routed, weights, active)
        following, gate = layer + self._lookahead, False
        if work.predicted is not None and following < self._machine.model.n_moe_layers:
            residency.look_ahead(following, work.predicted[:, following])
            gate = True
        homes, resident = self._home_of[layer], residency.resident[layer]
        keys = [(homes[e], resident[e], n_tokens, e) for e, n_tokens in active]
        phase = self._next_refresh_phase()
        told, ordered, plan = self._experts(work, keys, phase, gate=gate, left=left)
        residency.use(layer, [(held, expert) for _, held, _, expert in ordered], plan)
        return told

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

    def _gpu_stage(self, situation: Situation, times: int = 1) -> int:
        if self.residency.queue:
            situation = replace(situation, queue=self.residency.queue)
        duration_ps = self._simulate(situation, times=times).duration_ps
        self.gpu_only_ps += times * duration_ps
        return duration_ps

    def _experts(
        self,
        work: "_LayerWork",
        active: list[Active],
        refresh_phase: int,
        *,
        gate: bool = False,
        left: Mapping[int, tuple[int, ...]] = NONE_LEFT,
        times: int = 1,
    ) -> tuple[Told, list[Active], Plan]:
        """An expert stage that occurs `times`; active experts in the order of the plan's slots.

        `gate`: a later layer's gate runs beside it. `left`: bytes left of copies begun, by expert.
        """
        ordered, renaming = self._in_order(active, left)
        if left:
            slots = tuple(Slot(*key[:3], left.get(key[3], ())) for key in ordered)
        else:
            slots = tuple(Slot(home, held, n_tokens) for home, held, n_tokens, _ in ordered)
        situation = Situation(
            "experts",
            work.phase,
            work.step.n_tokens,
            work.shared,
            slots,
            self.residency.queue,
            refresh_phase,
            work.gate if gate else (),
            self.residency.decision_ps(work.phase, len(active)),
        )
        outcome = self._simulate(situation, renaming, times)
        plan = outcome.plan
        assert plan is not None
        n_gpu, n_near, n_cpu = (
            sum(slots[i].n_tokens for i in device) for device in (plan.gpu, plan.near, plan.cpu)
        )
        n_hit = sum(slot.n_tokens for slot in slots if slot.resident)
        return (outcome.duration_ps, n_gpu, n_near, n_cpu, n_hit), ordered, plan

    def _next_refresh_phase(self) -> int:
        """Where in a refresh interval the next expert stage starts."""
        phase = self._refresh_phase() if self._dispatch.near else 0
        self._n_expert_stages += 1
        return phase

    def _refresh_phase(self) -> int:
        return van_der_corput(self._n_expert_stages, self._machine.system.refresh_phases)

    def _in_order(
        self, active: list[Active], left: Mapping[int, tuple[int, ...]]
    ) -> tuple[list[Active], Renaming]:
        """Canonical order; beside transfers under way, which name homes, units keep theirs."""
        if left:
            return sorted(active, key=lambda a: (*a[:3], left.get(a[3], ()), a[3])), AS_NAMED
        if self.residency.queue:
            return sorted(active), AS_NAMED
        return self._symmetry.canonical(active)

    def _simulate(
        self, situation: Situation, renaming: Renaming = AS_NAMED, times: int = 1
    ) -> Outcome:
        outcome = self._memo(simulate, self._machine, self._dispatch, situation)
        self.tally.add(outcome, renaming, times)
        self.elapsed_ps += times * outcome.duration_ps
        if situation.queue:
            self.residency.carry(outcome.queue, outcome.n_arrived)
        return outcome


@dataclass(frozen=True, slots=True)
class _LayerWork:
    """What the MoE layers of a step have in common."""

    phase: Phase
    step: Step
    shared: Operators
    gate: Operators
    """The gate of a later layer, where it is computed to predict."""
    weights: NDArray[np.float16] | None
    """(n_tokens, n_moe_layers, top_k)."""
    predicted: NDArray[np.int16] | None
    """By layer, ids predicted for it: (n_tokens, n_moe_layers, width)."""


def _fed(array: NDArray[Any] | None, positions: slice, step: Step) -> NDArray[Any] | None:
    """The part of a request's array that a step feeds, tokens of all sequences in one axis."""
    if array is None:
        return None
    return array[:, positions].reshape(step.n_tokens, *array.shape[2:])


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
