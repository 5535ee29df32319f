"""What `ndpsim sweep` does; imported when it runs."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ndpsim.cli.output import PATIENCE_S, print_json, print_view
from ndpsim.errors import SimulationError
from ndpsim.report import sweep_view
from ndpsim.report.figures import digits
from ndpsim.study.sweep import Estimate, Outcome, Progress, estimate, load, run_plan, workers

LOG_EVERY_S: Final = 15.0
"""Between lines of progress where stderr is a file."""
SHOW_EVERY_S: Final = 0.2


def sweep(
    config: str,
    overrides: Sequence[str],
    output: str | None,
    as_json: bool,
    jobs: int | None,
    cluster: str | None,
    *,
    dry_run: bool,
) -> None:
    """`ndpsim sweep`."""
    plan = load(config, overrides)
    with workers(jobs, cluster) as found:
        if dry_run:
            _show_estimate(estimate(plan, found, output), plan.header, as_json)
            return
        with _Status(output) as status:
            outcome = run_plan(plan, found, output, status, records=as_json)
    if as_json:
        print_json(outcome.records)
    else:
        print_view(sweep_view(outcome.frame, plan.header, _notes(outcome, output)))
    n_failed = int((outcome.frame["status"] == "failed").sum())
    if n_failed:
        where = f"; see {Path(output) / 'errors'}" if output else ""
        raise SimulationError("sweep", f"{n_failed} of {len(outcome.frame)} points failed{where}")


def _notes(outcome: Outcome, output: str | None) -> list[str]:
    rate = f", {digits(outcome.n_run / outcome.wall_s)} points/s" if outcome.n_run else ""
    n_found = len(outcome.frame) - outcome.n_run
    found = f", {n_found} were there" if n_found > 0 else ""
    equal = f", {outcome.n_equal} equal to others" if outcome.n_equal else ""
    notes = [f"{outcome.n_run} points run{found}{equal} in {_duration(outcome.wall_s)}{rate}"]
    if output:
        notes.append(
            f"results in {output}: results.parquet, and each point's configuration in points/"
        )
    else:
        notes.append("-o DIR keeps the results, and a sweep cut short goes on there")
    return notes


def _show_estimate(found: Estimate, header: dict[str, Any], as_json: bool) -> None:
    if as_json:
        fields = ("n_points", "n_done", "n_workers", "point_s", "wall_s")
        print_json({name: getattr(found, name) for name in fields})
        return
    blocks = header["blocks"]
    product = f" = {' x '.join(map(str, blocks))}" if blocks and len(blocks) > 1 else ""
    print(f"{found.n_points} points{product}; {found.n_done} done")
    print(f"one point takes {digits(found.point_s)} s, the mean of {found.n_timed}")
    print(
        f"about {_duration(found.wall_s)} on {found.n_workers} workers; less where work is shared"
    )


class _Status:
    """One line on stderr: points done, rate, time left, failures; silent for a moment."""

    def __init__(self, output: str | None) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._next_s = time.monotonic() + PATIENCE_S
        self._shown = False

    def __enter__(self) -> "_Status":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, progress: Progress) -> None:
        """Show how far the sweep is, if the last time is long enough ago."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + (SHOW_EVERY_S if self._is_terminal else LOG_EVERY_S)
        self._shown = True
        line = _progress_line(progress)
        sys.stderr.write(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
        sys.stderr.flush()


def _progress_line(progress: Progress) -> str:
    left_s = progress.remaining_s
    parts = [
        f"{progress.done} of {progress.total} points",
        f"{digits(progress.points_per_s)} points/s" if progress.points_per_s else "starting",
        "" if left_s is None else f"{_duration(left_s)} left",
        f"{progress.infeasible} infeasible" if progress.infeasible else "",
        f"{progress.failed} failed",
    ]
    return ", ".join(part for part in parts if part)


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(3.21), _duration(75), _duration(7500)
    ('3.2 s', '1 min 15 s', '2 h 05 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
