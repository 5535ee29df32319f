"""What a run and a sweep cost as they grow, as a page of the docs."""

import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ndpsim.bench.measure import EDGE
from ndpsim.errors import InputError
from ndpsim.experiment import RunSpec, run_resolved
from ndpsim.memo import Memo
from ndpsim.spec import resolve
from ndpsim.study.sweep import load, run_plan, worker, workers

SCHEDULERS: Final = ("tensor-parallel", "edge-gpu-ndp")
RUNS: Final[tuple[tuple[str, str, tuple[int, ...]], ...]] = (
    ("Output tokens", "workload.output_tokens", (128, 512, 2048)),
    ("Layers", "model.n_layers", (12, 48)),
    ("Experts per layer", "model.n_experts", (32, 128)),
    ("DIMMs", "system.ndp.count", (2, 8)),
    ("Batch", "workload.batch", (1, 4)),
)
POINTS: Final = (4, 8)
MILLION: Final = 10**6

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds against a size."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """K of the law t ~ n^k between the last two sizes."""
        (n0, n1), (t0, t1) = self.sizes[-2:], self.seconds[-2:]
        return math.log(t1 / t0) / math.log(n1 / n0)


def write_scaling(path: Path | str, progress: Progress | None = None) -> None:
    """Measure, and write the page.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    path = Path(path)
    if not path.resolve().parent.is_dir():
        raise InputError(str(path), "the folder it should lie in does not exist")
    text = "\n".join([*_head(), *_runs(progress), *_sweeps(progress)]) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), f"cannot be written: {error.strerror or error}") from None


def _head() -> Iterator[str]:
    yield "# How costs grow"
    yield ""
    yield "Written by `ndpsim bench --scaling docs/scaling.md`; run it again on your machine."
    cores, load = os.cpu_count(), f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    yield (
        f"This one: {cores} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"load {load} when it began (what else ran slows all figures alike)."
    )
    yield (
        "The job is Qwen3-30B-A3B on the edge machine, 512 tokens in and out, synthetic routing; "
        "one size is varied at a time. Kernels are compiled, memories are empty, "
        "one run each. *k* is the exponent of t ~ n^k between the last two sizes: 1 is linear."
    )


def _runs(progress: Progress | None) -> Iterator[str]:
    yield from ("", "## A run", "")
    _seconds({"workload.output_tokens": 8})
    for index, (title, path, sizes) in enumerate(RUNS):
        if progress:
            progress(title.lower(), index, len(RUNS) + 1)
        yield f"| {title} | {' | '.join(map(str, sizes))} | *k* |"
        yield f"| --- |{' ---: |' * (len(sizes) + 1)}"
        for scheduler in SCHEDULERS:
            seconds = tuple(_seconds({"scheduler": scheduler, path: size}) for size in sizes)
            cells = " | ".join(f"{value:.2f} s" for value in seconds)
            yield f"| {scheduler} | {cells} | {Growth(sizes, seconds).exponent:.2f} |"
        yield ""


def _seconds(values: dict[str, Any]) -> float:
    """Wall time of a run with an empty memory, its routing included."""
    resolved = resolve(RunSpec, EDGE, values)
    started = time.perf_counter()
    run_resolved(resolved, Memo())
    return time.perf_counter() - started


def _sweeps(progress: Progress | None) -> Iterator[str]:
    if progress:
        progress("sweeps", len(RUNS), len(RUNS) + 1)
    jobs = sorted({1, 2, os.cpu_count() or 1})
    yield from ("## A sweep", "")
    yield "Wall time, start-up of the processes included; 128 tokens out."
    yield ""
    yield f"| Points | {' | '.join(f'{n} processes' if n > 1 else '1 process' for n in jobs)} |"
    yield f"| ---: |{' ---: |' * len(jobs)}"
    single: list[float] = []
    for n_points in POINTS:
        seconds = [_sweep_s(n_points, n) for n in jobs]
        single.append(seconds[0])
        yield f"| {n_points} | {' | '.join(f'{value:.1f} s' for value in seconds)} |"
    point_s = sum(_seconds({"scheduler": s, "workload.output_tokens": 128}) for s in SCHEDULERS) / 2
    yield ""
    yield from _million(max(point_s, 1e-3), *_driver())


def _plan(n_points: int) -> Any:
    grid = {
        "workload.output_tokens": [128],
        "scheduler": ["tensor-parallel", "edge-gpu-ndp"],
        "system.ndp.count": [2, 4],
        "seed": list(range(n_points // 4)),
    }
    return load({"base": EDGE, "grid": grid})


def _sweep_s(n_points: int, jobs: int) -> float:
    worker._here.__dict__.clear()  # one job runs here, where earlier sweeps are remembered
    with workers(jobs) as found:
        return run_plan(_plan(n_points), found).wall_s


def _driver(n_points: int = 100) -> tuple[float, float]:
    """Seconds and bytes that the process in charge spends on a point: all but simulating it."""
    from ndpsim.study.sweep import executors

    first = executors.Serial()
    known: dict[str, Any] = {}

    def remembered(function: Callable[..., Any], task: Any) -> Any:
        """The answer to the first point, under another number, at once."""
        if "row" not in known:
            known["row"] = first.submit(function, task).result()
        row = {**known["row"], "point": task.index, "config_hash": f"{task.index:064x}"}
        return first.submit(lambda: row)

    class Instant(executors.Serial):
        submit = staticmethod(remembered)

    with tempfile.TemporaryDirectory() as folder:
        plan = _plan(n_points)
        found = executors.Workers(Instant, window=1, n_workers=1)
        run_plan(_plan(4), found)
        assert plan.header  # the check of every value comes once, not per point
        wall_s = run_plan(plan, found, Path(folder) / "out").wall_s
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return wall_s / n_points, size / n_points


def _million(point_s: float, driver_s: float, n_bytes: float) -> Sequence[str]:
    """The paper estimate, and what limits it."""
    rows = []
    for n in (16, 256, 4096):
        simulate_s, drive_s = MILLION * point_s / n, MILLION * driver_s
        limit = "simulation" if simulate_s > drive_s else "the process in charge"
        rows.append(f"| {n} | {max(simulate_s, drive_s) / 3600:.1f} h | {limit} |")
    return [
        "## A million points, on paper",
        "",
        f"A point of this size takes {point_s:.2f} s of one core. The process in charge spends "
        f"{1e3 * driver_s:.1f} ms on each (its configuration, a journal line on disk before the "
        f"next, the final table) and {n_bytes / 1e3:.1f} kB of disk, "
        f"{MILLION * n_bytes / 1e9:.1f} GB in all.",
        "",
        "| Workers | Wall time | Limited by |",
        "| ---: | ---: | --- |",
        *rows,
        "",
        f"The two meet at {point_s / driver_s:.0f} workers. Beyond, split the sweep file and "
        "join the tables: `config_hash` is the key of their rows. A cluster adds its own cost per "
        "point to the first figure; docs/sweeps.md says how to run one.",
    ]
