"""Where a run's time went, and what a faster part would buy.

Both answers come from simulation: the run is repeated with one part of the machine a tenth faster
at a time, and prefill alone is repeated to tell the phases apart.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ndpsim.errors import ConfigError
from ndpsim.experiment import RunResult, RunSpec, routing_of, run_resolved
from ndpsim.experiment.files import load_run
from ndpsim.memo import Memo
from ndpsim.spec import resolve
from ndpsim.units import PS_PER_S, format_quantity, parse_quantity

FASTER: Final = (11, 10)
"""Numerator and denominator of the speed-up tried: a tenth faster."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the machine and the fields that make it faster: (path, dimension) pairs."""

    name: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What a tenth more speed of a part buys, end to end."""

    part: str
    e2e_s: float
    gain_frac: float
    """Share of the run's time that is saved."""


@dataclass(frozen=True)
class Explanation:
    """A run's time by phase, layer and resource, and what would shorten it."""

    result: RunResult
    phases: Mapping[str, Mapping[str, float]]
    """Phase -> seconds in all, in stages of the GPU alone, and in expert stages."""
    critical_s: Mapping[str, Mapping[str, float]]
    """Phase -> resource -> seconds on the critical path."""
    what_ifs: tuple[WhatIf, ...]
    """Largest gain first."""


def explain(
    source: Path | str, *, progress: Callable[[int, int], None] | None = None
) -> Explanation:
    """Explain a results folder, or a configuration that is then run.

    Raises
    ------
    InputError
        Neither can be read, or the folder's run gives another result now.
    """
    memory = Memo()
    config, expected = _origin(Path(source))

    spec = resolve(RunSpec, config).spec
    routing = routing_of(spec, spec.model_spec())

    def again(changes: Mapping[str, Any]) -> RunResult:
        return run_resolved(resolve(RunSpec, config, changes), memory, routing=routing)

    result = again({})
    if expected is not None and result.summary["config_hash"] != expected:
        raise ConfigError(str(source), "its trace or models have changed since; run it again")
    prefill = again({"workload.output_tokens": 1})
    parts = list(_parts(result.values))
    what_ifs = []
    for index, part in enumerate(parts, start=1):
        e2e_s = again(_faster(result.values, part)).summary["e2e_s"]
        what_ifs.append(WhatIf(part.name, e2e_s, 1 - e2e_s / result.summary["e2e_s"]))
        if progress:
            progress(index, len(parts))
    return Explanation(
        result,
        _phases(result),
        _critical(result, prefill),
        tuple(sorted(what_ifs, key=lambda w: (-w.gain_frac, w.part))),
    )


def _origin(source: Path) -> tuple[Path | Mapping[str, Any], str | None]:
    """A configuration to run, and the hash it must have."""
    if not source.is_dir():
        return source, None
    stored = load_run(source)
    return stored.values, str(stored.summary["config_hash"])


def _parts(values: Mapping[str, Any]) -> Iterator[Part]:
    """The parts of a machine that can be made faster."""
    system = values["system"]
    clock, bandwidth = "frequency", "bandwidth"
    yield Part("GPU compute (clock)", (("system.gpu.clock", clock),))
    yield Part("GPU memory (bandwidth)", (("system.gpu.memory_bandwidth", bandwidth),))
    if system.get("ndp"):
        yield Part("NDP memory (DRAM clock)", (("system.ndp.unit.dram.clock", clock),))
        yield Part("NDP compute (clock)", (("system.ndp.unit.clock", clock),))
    for index, group in enumerate(system["topology"]):
        path = f"system.topology.{index}.link.lane_bandwidth"
        yield Part(f"{group['name']} (bandwidth)", ((path, bandwidth),))
    yield Part("latencies (links, doorbell, poll)", tuple(_latencies(system)))
    dispatch = values["scheduler"]["dispatch"]
    costs = [name for name in ("decision_base", "decision_per_expert") if name in dispatch]
    yield Part(
        "host CPU (clock, decisions)",
        (("system.cpu.clock", clock), *((f"scheduler.dispatch.{name}", "time") for name in costs)),
    )


def _latencies(system: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for index in range(len(system["topology"])):
        for name in ("latency", "setup"):
            yield f"system.topology.{index}.link.{name}", "time"
    if system.get("ndp"):
        for name in ("doorbell", "poll"):
            yield f"system.ndp.{name}", "time"


def _faster(values: Mapping[str, Any], part: Part) -> dict[str, str]:
    """The changes that make a part a tenth faster; times shrink, rates grow."""
    more, less = FASTER
    changes = {}
    for path, dimension in part.fields:
        amount = parse_quantity(_at(values, path), dimension)
        scaled = amount * less // more if dimension == "time" else amount * more // less
        changes[path] = format_quantity(scaled, dimension)
    return changes


def _at(values: Any, path: str) -> str:
    for step in path.split("."):
        values = values[int(step)] if isinstance(values, list) else values[step]
    return str(values)


def _phases(result: RunResult) -> dict[str, dict[str, float]]:
    phases = {}
    for phase, rows in result.tokens.groupby("phase", sort=False):
        total, experts = int(rows["duration_ps"].sum()), int(rows["experts_ps"].sum())
        phases[str(phase)] = {
            "total_s": total / PS_PER_S,
            "gpu_alone_s": (total - experts) / PS_PER_S,
            "experts_s": experts / PS_PER_S,
        }
    return phases


def _critical(result: RunResult, prefill: RunResult) -> dict[str, dict[str, float]]:
    """Critical time by resource of prefill, and of decode: what the whole run has beyond it."""
    whole, first = (_critical_ps(r) for r in (result, prefill))
    rest = {name: time_ps - first.get(name, 0) for name, time_ps in whole.items()}
    return {
        phase: {
            name: time_ps / PS_PER_S
            for name, time_ps in sorted(times.items(), key=lambda item: -item[1])
            if time_ps
        }
        for phase, times in (("prefill", first), ("decode", rest))
        if any(times.values())
    }


def _critical_ps(result: RunResult) -> dict[str, int]:
    resources = result.tables["resources"]
    names, times = resources["resource"], resources["critical_ps"]
    return {str(name): int(time_ps) for name, time_ps in zip(names, times, strict=True)}
