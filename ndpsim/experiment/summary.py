"""The figures and tables of a finished run, from its outcomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ndpsim.experiment.result import Columns
from ndpsim.experiment.routing import Routing
from ndpsim.experiment.spec import RunSpec
from ndpsim.system import GPU, Machine, MemoryPlan, Session, StepResult, energy_j
from ndpsim.units import PS_PER_S
from ndpsim.workload import expert_bytes

RANKS = ".ranks"


@dataclass(frozen=True)
class Finished:
    """A run whose steps are done."""

    spec: RunSpec
    machine: Machine
    plan: MemoryPlan
    session: Session
    results: list[StepResult]
    routing: Routing
    bound_ps: int | None

    @property
    def duration_ps(self) -> int:
        """Prefill and decode together."""
        return sum(result.duration_ps for result in self.results)


def summarize(run: Finished) -> dict[str, Any]:
    """The figures of `ndpsim run --json`; formulas are in docs/glossary.md."""
    workload = run.spec.workload
    prefill, decode = run.results[:1], run.results[1:]
    prefill_s, decode_s = _seconds(prefill), _seconds(decode)
    e2e_s = run.duration_ps / PS_PER_S
    tally = run.session.tally
    busy, n_bytes = tally.total("busy_ps"), tally.total("n_bytes")
    critical = tally.total("critical_ps")
    units = [busy.get(unit, 0) for unit in run.machine.units]
    decode_pairs = sum(int((r.n_gpu + r.n_near + r.n_cpu).sum()) for r in decode)
    hits = sum(int(r.n_hit.sum()) for r in decode)
    return {
        "ttft_s": prefill_s,
        "tpot_s": decode_s / (workload.output_tokens - 1) if decode else None,
        "e2e_s": e2e_s,
        "prefill_s": prefill_s,
        "decode_s": decode_s,
        "moe_prefill_s": _moe_seconds(prefill),
        "moe_decode_s": _moe_seconds(decode),
        "output_tokens_per_s": workload.batch * workload.output_tokens / e2e_s,
        "bound_e2e_s": None if run.bound_ps is None else run.bound_ps / PS_PER_S,
        "utilization": {
            name: time_ps / run.duration_ps
            for name, time_ps in busy.items()
            if not name.endswith(RANKS)
        },
        "critical_frac": {name: ps / run.duration_ps for name, ps in critical.items()},
        "ndp_imbalance": max(units) * len(units) / sum(units) if sum(units) else None,
        "gpu_hit_frac": hits / decode_pairs if decode_pairs else None,
        "prefetched_experts": run.session.n_prefetched,
        "gpu_expert_capacity": run.plan.expert_capacity,
        "link_bytes": {
            name: n_bytes.get(name, 0) for name in sorted(run.machine.topology.capacity)
        },
        "memory_bytes": _memory_bytes(run),
        "energy_j": energy_j(
            run.machine, run.duration_ps, n_bytes, tally.total("flop"), tally.total("commands")
        ),
        "exact": run.spec.scheduler.exact,
        "synthetic_trace": run.routing.synthetic,
        "trace_origin": run.routing.origin,
        "notes": notes(run.spec),
    }


def notes(spec: RunSpec) -> list[str]:
    """What a reader of the figures should know of how the machine was understood."""
    if spec.system.unified_memory and spec.scheduler.partition.on == "host":
        return [
            "unified memory: host and GPU read experts from the same place, so fetching one is a"
            " no-op and all count as hits"
        ]
    return []


def tables(run: Finished) -> dict[str, Columns]:
    """Columns of the frames `layers`, `tokens` and `resources`."""
    return {"layers": _layers(run), "tokens": _tokens(run), "resources": _resources(run)}


def _layers(run: Finished) -> Columns:
    n_layers = run.machine.model.n_layers
    phases = [("prefill", run.results[:1]), ("decode", run.results[1:])]
    phases = [(name, results) for name, results in phases if results]
    columns: Columns = {
        "phase": [name for name, _ in phases for _ in range(n_layers)],
        "layer": np.tile(np.arange(n_layers), len(phases)),
    }
    for field in ("attention_ps", "experts_ps", "n_gpu", "n_near", "n_cpu", "n_hit"):
        columns[field] = np.concatenate(
            [np.sum([getattr(r, field) for r in results], axis=0) for _, results in phases]
        )
    return columns


def _tokens(run: Finished) -> Columns:
    results = run.results
    durations = np.array([r.duration_ps for r in results], dtype=np.int64)
    columns: Columns = {
        "token": np.arange(len(results)),
        "phase": [r.phase for r in results],
        "emitted_ps": np.cumsum(durations),
        "duration_ps": durations,
    }
    for field in ("attention_ps", "experts_ps", "n_gpu", "n_near", "n_cpu", "n_hit"):
        columns[field] = np.array([int(getattr(r, field).sum()) for r in results], dtype=np.int64)
    return columns


def _resources(run: Finished) -> Columns:
    tally = run.session.tally
    totals = {field: tally.total(field) for field in ("busy_ps", "critical_ps", "n_bytes", "flop")}
    names = sorted({name for total in totals.values() for name in total})
    return {"resource": names} | {
        field: np.array([total.get(name, 0) for name in names], dtype=np.int64)
        for field, total in totals.items()
    }


def _seconds(results: list[StepResult]) -> float:
    return sum(r.duration_ps for r in results) / PS_PER_S


def _moe_seconds(results: list[StepResult]) -> float:
    return sum(int(r.experts_ps.sum()) for r in results) / PS_PER_S


def _memory_bytes(run: Finished) -> dict[str, int]:
    """Peak bytes in use by device."""
    peak = dict(run.plan.fixed_bytes)
    one_expert = expert_bytes(run.machine.model, run.machine.formats.expert)
    peak[GPU] += run.session.peak_resident * one_expert
    return peak
