"""Which experts the request's tokens go to: read from a trace or drawn."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import TraceError
from ndpsim.experiment.spec import RunSpec
from ndpsim.policy import SchedulerSpec
from ndpsim.policy.files import expert_counts
from ndpsim.serving import steps
from ndpsim.system import Knowledge
from ndpsim.workload import ModelSpec, Trace, read_trace, select, synthesize, trace_digest
from ndpsim.workload import Routing as Selection

CALIBRATION_SEQUENCES: Final = 4
"""Further synthetic sequences of the same corpus, where a scheduler calibrates on others."""


@dataclass(frozen=True)
class Routing:
    """Expert ids of a run, and where they come from."""

    spec: RunSpec
    model: ModelSpec
    trace: Trace
    selection: Selection
    digest: str
    """Digest of the trace's content."""

    @property
    def experts(self) -> NDArray[np.int16]:
        """(batch, P + O - 1, n_moe_layers, top_k)."""
        return self.selection.experts

    @property
    def synthetic(self) -> bool:
        """Whether any of the routing was generated."""
        return self.trace.info.synthetic or self.n_invented > 0

    @property
    def n_invented(self) -> int:
        """Positions that `trace.extend` made up, over the batch."""
        return self.selection.n_invented

    @property
    def origin(self) -> str:
        """One line for people: the model it was captured from, or how it was made."""
        return self.trace.info.model

    @cached_property
    def profile(self) -> NDArray[np.int64] | None:
        """How often other sequences chose each expert, (n_moe_layers, n_experts).

        None if the trace has no other sequences; a synthetic one is given some more.
        """
        source, workload = self.spec.trace_spec(), self.spec.workload
        trace, first = self.trace, len(self.selection.sequences)
        if source.synthetic is not None:
            trace = synthesize(
                self.model,
                source.synthetic,
                n_sequences=first + CALIBRATION_SEQUENCES,
                n_tokens=workload.n_positions,
                seed=self.spec.seed,
            )
        others = ~np.isin(trace.sequence, self.selection.sequences)
        return expert_counts(trace.experts[others], self.model.n_experts) if others.any() else None

    def check(self, scheduler: SchedulerSpec) -> None:
        """Raise a TraceError unless the trace has what a scheduler needs."""
        distance = scheduler.prefetch.lookahead
        lacking = {
            "profile": "other sequences to calibrate on",
            "weights": "router weights (column 'weights')",
            "predicted": f"predictions (column 'predicted_{distance}')",
        }
        has = {
            "profile": lambda: self.profile is not None,
            "weights": lambda: self.selection.weights is not None,
            "predicted": lambda: len(self.selection.predicted) >= distance,
        }
        for need, what in lacking.items():
            if need in scheduler.needs and not has[need]():
                where = str(self.spec.trace_spec().path or "trace")
                text = f"scheduler '{scheduler.name}' needs {what}; this trace has none"
                raise TraceError(where, text)

    def calibration(self, scheduler: SchedulerSpec) -> Knowledge:
        """Only what a partition may need."""
        return Knowledge(profile=self.profile if "profile" in scheduler.needs else None)

    def knowledge(self, scheduler: SchedulerSpec) -> Knowledge:
        """What the policies need beyond the routing so far, and nothing else.

        Raises
        ------
        TraceError
            The trace does not have it; says who needs what.
        """
        self.check(scheduler)
        needs, prefetch = scheduler.needs, scheduler.prefetch
        return Knowledge(
            profile=self.profile if "profile" in needs else None,
            weights=self.selection.weights if "weights" in needs else None,
            predicted=self._predicted(scheduler) if prefetch.lookahead else None,
            future=tuple(self._by_step()) if "future" in needs else None,
        )

    def _by_step(self) -> list[NDArray[np.int16]]:
        """The routing of each step, tokens of all sequences in one axis."""
        experts = self.experts
        return [
            experts[:, positions].reshape(step.n_tokens, *experts.shape[2:])
            for _, step, positions in steps(self.spec.workload)
        ]

    def _predicted(self, scheduler: SchedulerSpec) -> NDArray[np.int16]:
        """By layer, what was predicted for it `lookahead` layers before."""
        recall, distance = scheduler.prefetch.recall_frac, scheduler.prefetch.lookahead
        if recall is not None:
            return made_up_predictions(self.experts, self.model.n_experts, recall, self.spec.seed)
        predicted = self.selection.predicted[distance - 1]
        target = np.full_like(predicted, -1)
        target[:, :, distance:] = predicted[:, :, :-distance]
        return target


def made_up_predictions(
    experts: NDArray[np.int16], n_experts: int, recall: float, seed: int
) -> NDArray[np.int16]:
    """Predictions with a recall, of the same shape as the routing.

    Each routed expert is predicted with probability `recall`; in place of one that is not, an
    expert the token does not use is, drawn evenly without replacement.
    """
    rng = np.random.default_rng([seed, 0x9A7E])
    flat = experts.reshape(-1, experts.shape[-1])
    missed = (rng.random(flat.shape) >= recall) & (flat >= 0)
    result = flat.copy()
    rows = np.flatnonzero(missed.any(axis=1))
    order = rng.random((len(rows), n_experts), dtype=np.float32)
    used = np.where(flat[rows] >= 0, flat[rows], flat[rows].max(axis=1, keepdims=True))
    np.put_along_axis(order, used.astype(np.int64), 2.0, axis=1)  # behind all that are not used
    width = min(flat.shape[1], n_experts)
    others = np.argsort(order, axis=1)[:, :width].astype(np.int16)
    free = np.take_along_axis(order, others.astype(np.int64), axis=1) < 2.0
    others = np.where(free, others, np.int16(-1))
    result[rows] = np.where(missed[rows], others, flat[rows])
    return result.reshape(experts.shape)


def routing_of(spec: RunSpec, model: ModelSpec) -> Routing:
    """The routing that a run replays.

    Raises
    ------
    TraceError
        The trace cannot be read, does not match the model, or is too short.
    """
    source, workload = spec.trace_spec(), spec.workload
    if source.synthetic is not None:
        trace = synthesize(
            model,
            source.synthetic,
            n_sequences=workload.batch,
            n_tokens=workload.n_positions,
            seed=spec.seed,
            prompt_tokens=workload.prompt_tokens,
        )
    else:
        assert source.path is not None
        trace = read_trace(source.path)
    selection = select(
        trace,
        model,
        batch=workload.batch,
        prompt_tokens=workload.prompt_tokens,
        output_tokens=workload.output_tokens,
        sequences=source.sequences,
        extend=source.extend,
        seed=spec.seed,
        where=str(source.path or "trace"),
    )
    return Routing(spec, model, trace, selection, trace_digest(trace))
