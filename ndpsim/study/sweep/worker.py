"""One point: resolve, run, sum up. Runs in any process; what it returns is small and plain."""

import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ndpsim.errors import ConfigError, InputError, NdpsimError
from ndpsim.experiment import (
    Routing,
    RunSpec,
    build_machine,
    config_hash,
    routing_of,
    run_resolved,
)
from ndpsim.memo import Memo
from ndpsim.spec import Resolved, digest, resolve
from ndpsim.study.sweep.expression import Expression
from ndpsim.system import plan_memory

OK: Final = "ok"
INFEASIBLE: Final = "infeasible"
"""The machine or the trace cannot serve the point; the error says why."""
FAILED: Final = "failed"
"""The simulation broke off."""
STATES: Final = (OK, INFEASIBLE, FAILED)

MAX_KEPT: Final = 300_000
"""Results that a worker remembers before it forgets all of them."""
N_ROUTINGS: Final = 4
"""Routings that a worker keeps."""

Row = dict[str, Any]
"""``point``, ``config_hash``, ``status``, ``error``, ``columns``, ``misses``, ``summary``."""


@dataclass(frozen=True, slots=True)
class Task:
    """A point to run; it is sent to a worker."""

    index: int
    document: Mapping[str, Any]
    columns: tuple[tuple[str, Expression], ...] = ()
    objectives: tuple[Expression, ...] = ()
    constraints: tuple[Expression, ...] = ()


@dataclass
class Kept:
    """What one worker remembers between points; it changes no result."""

    memo: Memo = field(default_factory=Memo)
    routings: dict[str, Routing] = field(default_factory=dict)

    def routing(self, resolved: Resolved[RunSpec]) -> Routing:
        """The routing of a run, from an earlier point where nothing it depends on differs."""
        spec, values = resolved.spec, resolved.values
        model = spec.model_spec()
        key = digest(
            {name: values[name] for name in ("trace", "workload", "seed")}
            | {"model": model.model_dump(mode="json")}
        )
        if key not in self.routings:
            routing = routing_of(spec, model)
            while len(self.routings) >= N_ROUTINGS:
                del self.routings[next(iter(self.routings))]
            self.routings[key] = routing
        return self.routings[key]

    def trim(self) -> None:
        """Forget everything once too much is held."""
        if sum(row["distinct"] for row in self.memo.stats().values()) > MAX_KEPT:
            self.memo = Memo()


_here = threading.local()


def evaluate(task: Task) -> Row:
    """The row of a point; a point that cannot be run is a row with the reason."""
    kept: Kept = _here.__dict__.setdefault("kept", Kept())
    row: Row = {
        "point": task.index,
        "config_hash": digest(task.document),  # as written, until it is resolved
        "status": OK,
        "error": None,
        "columns": {},
        "goals": [],
        "misses": [],
        "summary": None,
    }
    try:
        _run(task, kept, row)
    except InputError as error:
        row |= {"status": INFEASIBLE, "error": str(error)}
    except NdpsimError as error:
        row |= {"status": FAILED, "error": str(error)}
    except Exception as error:  # a bug must not end ten thousand other points
        what = f"internal: {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
        row |= {"status": FAILED, "error": what, "trace": traceback.format_exc()}
    kept.trim()
    return row


def failed(index: int, document: Mapping[str, Any], why: str) -> Row:
    """The row of a point whose worker did not answer."""
    return {
        "point": index,
        "config_hash": digest(document),
        "status": FAILED,
        "error": why,
        "columns": {},
        "goals": [],
        "misses": [],
        "summary": None,
    }


def _run(task: Task, kept: Kept, row: Row) -> None:
    resolved = resolve(RunSpec, task.document)
    row["config_hash"] = digest(resolved.values)  # stays where no run can have a hash
    model, workload = resolved.spec.model_spec(), resolved.spec.workload
    machine, placement = build_machine(resolved.spec, model)
    plan_memory(machine, placement, workload.batch, workload.prompt_tokens, workload.output_tokens)
    routing = kept.routing(resolved)
    values = resolved.values | {"model": model.model_dump(mode="json")}
    row["config_hash"] = config_hash(values, routing.digest)
    summary = run_resolved(resolved, kept.memo, routing=routing).summary
    columns: dict[str, Any] = {}
    fields = {name: getattr(resolved.spec, name) for name in RunSpec.model_fields}
    scopes = (columns, summary, fields | {"model": model})
    for name, expression in task.columns:
        columns[name] = expression.value(*_by_root(expression, scopes))
    row["columns"] = columns
    row["goals"] = [_goal(goal, goal.value(*_by_root(goal, scopes))) for goal in task.objectives]
    row["misses"] = [limit.violation(*_by_root(limit, scopes)) for limit in task.constraints]
    row["summary"] = summary


def _goal(goal: Expression, value: Any) -> float:
    if isinstance(value, str):
        raise ConfigError(goal.where, f"'{goal.text}' is text, not a number")
    return float(value)


def _by_root(
    expression: Expression, scopes: tuple[Mapping[str, Any], ...]
) -> tuple[Mapping[str, Any], ...]:
    """`model` is a name among the figures and a spec in the configuration; so is `scheduler`.

    Where an expression asks for a part of it, the configuration is meant.
    """
    columns, summary, fields = scopes
    deeper = {steps[0] for steps in expression.paths if len(steps) > 1} & fields.keys()
    return columns, {key: value for key, value in summary.items() if key not in deeper}, fields
