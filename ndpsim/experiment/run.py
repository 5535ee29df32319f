"""Run one configuration: build the machine, serve the request, sum up."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import ConfigError
from ndpsim.experiment.result import RunResult
from ndpsim.experiment.routing import Routing, routing_of
from ndpsim.experiment.spec import RunSpec
from ndpsim.experiment.summary import Finished, summarize, tables
from ndpsim.memo import Memo, NoMemo
from ndpsim.policy import Placement
from ndpsim.serving import serve, steps
from ndpsim.spec import Resolved, digest, resolve
from ndpsim.system import (
    GPU,
    MEMORY,
    STAGING_BUFFERS,
    Bound,
    Knowledge,
    Machine,
    MemoryPlan,
    Session,
    audit,
    known,
    plan_memory,
    unit_names,
)
from ndpsim.workload import ModelSpec

SCHEMA: Final = 1
"""Version of the summary's fields."""

SEMANTICS: Final = 1
"""Version of the models' meaning; part of the config hash, raised when results change."""

Source = Path | str | Mapping[str, Any]
Overrides = Sequence[str] | Mapping[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Room:
    """What a partition policy sees (a `PartitionView`)."""

    units: tuple[str, ...]
    host: str
    gpu: str
    n_moe_layers: int
    n_experts: int
    moe_layers: tuple[int, ...]
    d_expert: int
    slice_granularity: int
    calibrate: Callable[[], NDArray[np.int64]]

    @property
    def profile(self) -> NDArray[np.int64]:
        """Calibration counts, for a policy that needs them."""
        return self.calibrate()


def run(
    config: Source,
    set: Overrides = (),
    *,
    memo: bool = True,
    check: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Simulate one run.

    Parameters
    ----------
    config
        A YAML file, or the same fields as a mapping (paths relative to the working directory).
    set
        Overrides, as a mapping of dotted paths to values or as ``a.b=value`` texts.
    memo
        Whether equal situations are simulated once; the integers are the same either way.
    check
        Whether to audit the run's conservation laws.
    progress
        Told (steps done, steps in all).

    Raises
    ------
    InputError
        Anything in the configuration or the trace that cannot be used.
    """
    resolved = resolve(RunSpec, config, set)
    memory = Memo() if memo else NoMemo()
    return run_resolved(resolved, memory, check=check, progress=progress)


def run_resolved(
    resolved: Resolved[RunSpec],
    memory: Memo,
    *,
    routing: Routing | None = None,
    check: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """As `run`, for a configuration that is resolved already.

    `memory` may come from other runs, which changes no result; `routing` from another run of the
    same model, trace, request and seed.
    """
    started = time.perf_counter()
    spec = resolved.spec
    model = spec.model_spec()
    routing = routing or routing_of(spec, model)
    knowledge = routing.knowledge(spec.scheduler)
    machine, placement = build_machine(spec, model, knowledge)
    workload = spec.workload
    plan = plan_memory(
        machine, placement, workload.batch, workload.prompt_tokens, workload.output_tokens
    )
    session = Session(memory, machine, spec.scheduler, placement, plan.expert_capacity, knowledge)
    results = serve(session, workload, routing.experts, progress)
    if check:
        audit(machine, session, plan, routing.experts, results)
    bound_ps = None
    if spec.scheduler.exact:
        n_preloaded = session.residency.n_preloaded
        bound = _bound(memory, machine, plan, spec, routing)
        bound_ps = bound.solve_ps(session.gpu_only_ps, n_preloaded)
    finished = Finished(spec, machine, plan, session, results, routing, bound_ps)
    values = resolved.values | {"model": model.model_dump(mode="json")}
    identity = values | {"scheduler": spec.scheduler.identity()}
    head = {
        "schema": SCHEMA,
        "model": model.name,
        "scheduler": spec.scheduler.name,
        "config_hash": config_hash(identity, routing.digest),
        "seed": spec.seed,
    }
    return RunResult(
        summary=head | summarize(finished),
        values=values,
        provenance=resolved.provenance,
        assumed=resolved.assumed,
        tables=tables(finished),
        wall_s=time.perf_counter() - started,
        memo=memory.stats(),
    )


def build_machine(
    spec: RunSpec, model: ModelSpec, knowledge: Knowledge | None = None
) -> tuple[Machine, Placement]:
    """The machine of a run, with every expert at its home.

    Without `knowledge`, calibration counts are read only if the partition asks for them.
    """

    def calibrate() -> NDArray[np.int64]:
        counts = (knowledge or routing_of(spec, model).knowledge(spec.scheduler)).profile
        return known(counts, "profile")

    system = spec.system
    if spec.scheduler.partition.on == "ndp" and system.ndp is None:
        raise ConfigError(
            "scheduler.partition",
            f"'{spec.scheduler.partition.name}' needs NDP units; the system has none",
        )
    room = Room(
        units=unit_names(system),
        host=GPU if system.unified_memory else MEMORY,
        gpu=GPU,
        n_moe_layers=model.n_moe_layers,
        moe_layers=model.moe_layers,
        n_experts=model.n_experts,
        d_expert=model.d_expert,
        slice_granularity=system.ndp.unit.slice_granularity if system.ndp else 1,
        calibrate=calibrate,
    )
    placement = spec.scheduler.partition.place(room)
    return Machine(system, model, spec.formats.formats(), placement.homes), placement


def config_hash(values: Mapping[str, Any], trace_digest: str) -> str:
    """The identity of a run: resolved values, the trace's content, the models' meaning.

    A trace counts by its content, wherever it lies; options of its use count as they are. The
    scheduler is given as its `identity`.
    """
    trace = values["trace"]
    options = {k: v for k, v in trace.items() if k != "path"} if isinstance(trace, dict) else {}
    content = {"content": trace_digest, **{k: v for k, v in options.items() if v is not None}}
    return digest({**values, "trace": content, "semantics": SEMANTICS})


def _bound(
    memo: Memo, machine: Machine, plan: MemoryPlan, spec: RunSpec, routing: Routing
) -> Bound:
    """The lower bound of the routing that was executed."""
    near = spec.scheduler.partition.on == "ndp"
    bound = Bound(memo, machine, near=near, room=plan.expert_capacity + STAGING_BUFFERS)
    experts = routing.experts
    for _, step, positions in steps(spec.workload):
        bound.add(experts[:, positions].reshape(step.n_tokens, *experts.shape[2:]))
    return bound
