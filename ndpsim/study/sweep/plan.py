"""A sweep file, read and checked: how many points there are and what each of them sets."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ndpsim.errors import ConfigError, unknown
from ndpsim.experiment import RunSpec
from ndpsim.experiment.run import SEMANTICS
from ndpsim.spec import digest, resolve
from ndpsim.spec.tree import Node, Origin, node_from
from ndpsim.spec.yaml import parse_value, read_mapping
from ndpsim.study.sweep.definition import Direction, SweepSpec
from ndpsim.study.sweep.expression import Expression, constraint
from ndpsim.study.sweep.points import Base, dump
from ndpsim.study.sweep.space import Axis, axis, latin_hypercube
from ndpsim.study.sweep.worker import Task

RESULTS: Final = (
    "schema", "model", "scheduler", "config_hash", "seed", "ttft_s", "tpot_s", "e2e_s", "prefill_s",
    "decode_s", "moe_prefill_s", "moe_decode_s", "output_tokens_per_s", "bound_e2e_s",
    "utilization", "critical_frac", "ndp_imbalance", "gpu_hit_frac", "prefetched_experts",
    "gpu_expert_capacity", "link_bytes", "memory_bytes", "energy_j", "exact", "synthetic_trace",
    "trace_origin",
)  # fmt: skip
"""Figures of a run that expressions may name."""
MAX_CHECKED: Final = 256
"""Values tried before anything runs; what is wrong with later ones becomes a row."""
MAX_POINTS: Final = 10**8

Values = dict[str, Any]
"""Configuration path -> value."""
Source = Path | str | Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A sweep that can be run."""

    name: str
    spec: SweepSpec
    base: Base
    blocks: tuple[tuple[Values, ...], ...]
    """Points are the product of these."""
    axes: Mapping[str, Axis]
    """What a search varies."""
    columns: tuple[tuple[str, Expression], ...]
    objectives: tuple[Expression, ...]
    constraints: tuple[Expression, ...]

    @property
    def n_points(self) -> int:
        """Points, before equal ones are told apart."""
        search = self.spec.search
        if search is not None:
            return search.generations * search.population
        return math.prod(len(block) for block in self.blocks)

    @property
    def goals(self) -> list[Direction]:
        """Directions of the objectives."""
        return list(self.spec.objectives.values())

    def values(self, index: int) -> Values:
        """What a point sets, beyond what all do; not for a search."""
        chosen: list[Values] = []
        for block in reversed(self.blocks):
            index, place = divmod(index, len(block))
            chosen.append(block[place])
        return {path: value for part in reversed(chosen) for path, value in part.items()}

    def task(self, index: int, values: Mapping[str, Any]) -> Task:
        """A point as a worker takes it."""
        document = self.document(values)
        return Task(index, document, self.columns, self.objectives, self.constraints)

    def document(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of a point."""
        return self.base.document({**self.spec.set, **_thawed(values)}, self.name)

    def text(self, task: Task, values: Mapping[str, Any]) -> str:
        """The configuration file of a point."""
        differs = "\n".join(f"  {path} = {value}" for path, value in values.items())
        return dump(task.document, f"Point {task.index} of the sweep '{self.name}':\n{differs}")

    @cached_property
    def header(self) -> dict[str, Any]:
        """What `sweep.json` says; its identity covers all that the points depend on."""
        values = self.spec.model_dump(mode="json")
        head = {
            "schema": 1,
            "name": self.name,
            "about": self.spec.about,
            "n_points": self.n_points,
        }
        content = {"sweep": {**values, "base": None}, "checked": self._checked()}
        return {
            **head,
            "identity": digest({**content, "semantics": SEMANTICS}),
            "set": values["set"],
            "blocks": None if self.spec.search else [len(block) for block in self.blocks],
            "paths": self.paths,
            "columns": dict(self.spec.columns),
            "objectives": dict(self.spec.objectives),
            "constraints": list(self.spec.constraints),
        }

    @cached_property
    def paths(self) -> list[str]:
        """Everything that varies."""
        if self.axes:
            return list(self.axes)
        return list(dict.fromkeys(path for block in self.blocks for row in block for path in row))

    def _checked(self) -> list[dict[str, Any]]:
        """Resolved values with each value of each axis in use once; the rest as at first.

        Raises
        ------
        ConfigError
            The base cannot be used, a path does not exist, or it cannot take a value.
        """
        found, seen = list[dict[str, Any]](), set[str]()
        for values in self._samples():
            new = {f"{path}={digest(value)}" for path, value in values.items()} - seen
            if (found and not new) or len(found) >= MAX_CHECKED:
                continue
            seen |= new
            found.append(self._resolved(values))
        return found

    def _samples(self) -> Iterator[Values]:
        first: Values = {path: axis.ends[0] for path, axis in self.axes.items()}
        for block in self.blocks:
            first |= block[0]
        yield first
        for path, axis_ in self.axes.items():
            yield from ({**first, path: value} for value in axis_.ends)
        for block in self.blocks:
            yield from ({**first, **row} for row in block)

    def _resolved(self, values: Values) -> dict[str, Any]:
        document = self.document(values)
        try:
            resolved = resolve(RunSpec, document)
        except ConfigError as error:
            what = str(error.args[-1])
            if any(_is_about(path, what) for path in (*values, *self.spec.set)):
                raise ConfigError(self.name, what) from None
            self._check_base(what)
            return {"fault": what}
        trace = resolved.spec.trace_spec().path
        content = _content(trace) if trace is not None else resolved.values["trace"]
        return {**resolved.values, "trace": content}

    def _check_base(self, what: str) -> None:
        """Raise if the base alone has this fault."""
        try:
            resolve(RunSpec, self.base.document({}))
        except ConfigError as error:
            if error.args[-1] == what:
                raise ConfigError(f"{self.name}: base", what) from None


def load(source: Source, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Plan:
    """Read a sweep.

    Raises
    ------
    ConfigError
        It cannot be used: one line with file, line and what is wrong.
    """
    spec = resolve(SweepSpec, source).spec
    named = isinstance(source, Mapping)
    name = "sweep" if named else Path(str(source)).name
    folder = (Path() if isinstance(source, Mapping) else Path(source).parent).resolve()
    spec = spec.model_copy(update={"set": {**_thawed(spec.set), **_given(overrides)}})
    axes = {}
    if spec.search:
        where = f"{name}: search.space"
        axes = {path: axis(f"{where}.{path}", p) for path, p in spec.search.space.items()}
    plan = Plan(
        name=name.removesuffix(".yaml"),
        spec=spec,
        base=Base(_base(spec, folder, name), folder),
        blocks=tuple(_blocks(spec, name)),
        axes=axes,
        columns=tuple(
            (column, Expression(f"{name}: columns.{column}", text))
            for column, text in spec.columns.items()
        ),
        objectives=tuple(Expression(f"{name}: objectives", text) for text in spec.objectives),
        constraints=tuple(constraint(f"{name}: constraints", text) for text in spec.constraints),
    )
    _check_names(plan)
    if plan.n_points > MAX_POINTS:
        raise ConfigError(name, f"{plan.n_points} points; at most {MAX_POINTS}")
    return plan


def _base(spec: SweepSpec, folder: Path, name: str) -> Node:
    if isinstance(spec.base, Path):
        return read_mapping(spec.base.resolve(), str(spec.base))
    return node_from(_thawed(spec.base), Origin(f"{name}: base", folder))


def _given(overrides: Sequence[str] | Mapping[str, Any]) -> Values:
    """Overrides of the command line, as values."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    found = {}
    for text in overrides:
        path, separator, value = text.partition("=")
        if not separator or not path.strip() or not value.strip():
            raise ConfigError(f"--set {text}", "expected KEY=VALUE, such as workload.batch=4")
        found[path.strip()] = parse_value(value, Origin(f"--set {text}")).plain()
    return found


def _blocks(spec: SweepSpec, name: str) -> Iterator[tuple[Values, ...]]:
    if spec.list:
        yield tuple(_thawed(point) for point in spec.list)
    if spec.zip:
        rows = zip(*spec.zip.values(), strict=True)
        yield tuple(dict(zip(spec.zip, _thawed(row), strict=True)) for row in rows)
    for path, values in spec.grid.items():
        yield tuple({path: _thawed(value)} for value in values)
    if spec.random:
        where = f"{name}: random.space"
        axes = {path: axis(f"{where}.{path}", p) for path, p in spec.random.space.items()}
        yield tuple(_thawed(latin_hypercube(axes, spec.random.n, spec.random.seed)))


def _check_names(plan: Plan) -> None:
    known = {*RESULTS, *RunSpec.model_fields}
    for column, expression in plan.columns:
        if column in known or column in plan.paths:
            raise ConfigError(expression.where, "the name is taken by a figure of the run")
        _check_expression(expression, known)
        known.add(column)
    for expression in (*plan.objectives, *plan.constraints):
        _check_expression(expression, known)


def _check_expression(expression: Expression, known: set[str]) -> None:
    for name in expression.names:
        if name not in known:
            raise unknown(expression.where, "name", name, known)


def _is_about(path: str, what: str) -> bool:
    """Whether a fault lies at a path or below it, or the path leads nowhere."""
    head = what.partition(": ")[0]
    nowhere = path.startswith(f"{head}.") and what.startswith(f"{head}: unknown field")
    return head == path or head.startswith(f"{path}.") or nowhere


def _content(trace: Path) -> str:
    try:
        with trace.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(str(trace), (error.strerror or str(error)).lower()) from None


def _thawed(value: Any) -> Any:
    """Plain data with lists where a spec holds tuples."""
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_thawed(item) for item in value]
    return value
