"""The measurements behind `ndpsim bench`."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from ndpsim.dram import DramSpec, Stream, stream_marks
from ndpsim.engine import Engine
from ndpsim.errors import SimulationError
from ndpsim.experiment.routing import routing_of
from ndpsim.experiment.run import build_machine
from ndpsim.experiment.spec import RunSpec
from ndpsim.memo import Memo
from ndpsim.serving import serve
from ndpsim.spec import load_preset, resolve
from ndpsim.study.sweep import Progress as SweepProgress
from ndpsim.study.sweep import sweep
from ndpsim.system import Session, Situation, plan_memory, simulate
from ndpsim.system.costs import StageCosts

REPEATS: Final = 3
EDGE: Final = {
    "model": "qwen3-30b-a3b",
    "formats": dict.fromkeys(("expert", "weight", "cache", "activation"), "fp16"),
    "system": "edge",
    "scheduler": "edge-gpu-ndp",
    "trace": {"synthetic": {}},
    "workload": {"prompt_tokens": 512, "output_tokens": 512},
}
"""The main job, on synthetic routing so that it needs no file."""
SWEEP: Final = {
    "base": EDGE,
    "grid": {
        "system.ndp.count": [2, 4, 6],
        "scheduler": ["edge-gpu-ndp", "tensor-parallel", "expert-parallel", "monde"],
    },
}
"""Points of the main job's size."""
DRAM: Final = "ddr4-3200-hermes"
N_REQUESTS: Final = 200_000
N_TASKS: Final = 20_000
STREAM_BYTES: Final = 64 << 20

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure."""

    name: str
    value: float
    unit: str


def measure_all(progress: Progress | None = None) -> list[Measurement]:
    """Every figure, in the order of `ndpsim bench`."""
    parts = (_runs, _decode, _dram, _streams, _engine, _sweep)
    found: list[Measurement] = []
    for index, part in enumerate(parts):
        if progress:
            progress(part.__name__.strip("_"), index, len(parts))
        found += part()
    return found


def _timed(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started


def _median(function: Callable[..., Any], *args: Any) -> float:
    """Median seconds of several calls, after one that compiles and warms."""
    function(*args)
    return median(_timed(function, *args) for _ in range(REPEATS))


def _runs() -> Iterator[Measurement]:
    """The main job as a user runs it: a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "edge.yaml"
        config.write_text(_yaml(), encoding="utf-8")
        cold = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "numba")}
        yield Measurement("run_edge_cold_wall_s", _timed(_run_edge, config, cold), "s")
        yield Measurement("run_edge_wall_s", _median(_run_edge, config, dict(os.environ)), "s")
    peak = _peak_memory_bytes()
    if peak is not None:
        yield Measurement("peak_memory_bytes", peak, "B")


def _yaml() -> str:
    """The main job as a file; JSON is YAML."""
    import json

    return json.dumps(EDGE)


def _run_edge(config: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "ndpsim", "run", str(config), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        what = done.stderr.strip().removeprefix("error: ")
        raise SimulationError("bench", what or f"{command} failed")


def _peak_memory_bytes() -> int | None:
    """Largest resident size of a finished child process; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


class _Recorder(Memo):
    """Notes the situations that a run asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.situations: dict[Situation, None] = {}

    def __call__(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if function is simulate:
            self.situations[args[2]] = None
        return super().__call__(function, *args, **kwargs)


def _decode() -> Iterator[Measurement]:
    """A decode step whose situations are all remembered, and a dispatch decision."""
    spec = resolve(RunSpec, EDGE).spec
    model, workload = spec.model_spec(), spec.workload
    machine, placement = build_machine(spec, model)
    sizes = (workload.batch, workload.prompt_tokens, workload.output_tokens)
    plan = plan_memory(machine, placement, *sizes)
    experts = routing_of(spec, model).experts
    memo, ends = _Recorder(), list[float]()

    def request() -> None:
        session = Session(memo, machine, spec.scheduler, placement, plan.expert_capacity)
        ends.clear()
        serve(session, workload, experts, lambda done, total: ends.append(time.perf_counter()))

    request()
    request()
    yield Measurement("decode_ms_per_token", 1e3 * float(np.median(np.diff(ends))), "ms")
    views = [
        StageCosts(memo, machine, situation.phase, situation.slots)
        for situation in memo.situations
        if situation.slots
    ]

    def decide() -> None:
        for view in views:
            spec.scheduler.dispatch.plan(view)

    yield Measurement("policy_us_per_situation", 1e6 * _median(decide) / len(views), "us")


def _dram() -> Iterator[Measurement]:
    """Reads through the compiled controller, one after the other and anywhere."""
    from ndpsim.dram import kernel

    dram = load_preset("dram", DRAM, DramSpec)
    anywhere = np.random.default_rng(0).integers(0, N_REQUESTS * 16, N_REQUESTS)
    for name, lines in (("seq", np.arange(N_REQUESTS)), ("rand", anywhere)):
        requests = [(line, False) for line in lines.tolist()]
        rate = N_REQUESTS / _median(kernel.run, dram, requests)
        yield Measurement(f"dram_{name}_requests_per_s", rate, "1/s")


def _streams() -> Iterator[Measurement]:
    """A long stream by fast-forward: with nothing learnt, and once more."""
    dram, stream = load_preset("dram", DRAM, DramSpec), Stream(STREAM_BYTES)
    stream_marks(Memo(), dram, stream)
    cold, warm = [], []
    for _ in range(REPEATS):
        memo = Memo()
        cold.append(_timed(stream_marks, memo, dram, stream))
        warm.append(_timed(stream_marks, memo, dram, stream))
    yield Measurement("dram_stream_64MiB_cold_s", median(cold), "s")
    yield Measurement("dram_stream_64MiB_warm_s", median(warm), "s")


def _engine() -> Iterator[Measurement]:
    """A chain of tasks over a few resources."""

    def chain() -> None:
        engine = Engine({})
        last = engine.task("task", "unit0", 1000)
        for index in range(1, N_TASKS):
            last = engine.task("task", f"unit{index % 4}", 1000, (last,))
        engine.run(last)

    yield Measurement("engine_tasks_per_s", N_TASKS / _median(chain), "1/s")


def _sweep() -> Iterator[Measurement]:
    """Points per second on all cores from the first that is done: what a long sweep sustains."""
    ends: dict[int, float] = {}

    def note(progress: SweepProgress) -> None:
        if progress.done:
            ends.setdefault(progress.done, time.perf_counter())

    sweep(SWEEP, progress=note)
    first, last = min(ends), max(ends)
    yield Measurement("sweep_points_per_s", (last - first) / (ends[last] - ends[first]), "1/s")
