"""Run the points of a sweep on any executor and keep what they give."""

import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ndpsim.errors import ConfigError, InputError, SimulationError
from ndpsim.spec import digest
from ndpsim.study.sweep import store as files
from ndpsim.study.sweep.executors import Workers, cluster, given, local
from ndpsim.study.sweep.plan import Plan, Source, Values, load
from ndpsim.study.sweep.search import Search
from ndpsim.study.sweep.store import Store
from ndpsim.study.sweep.table import Table
from ndpsim.study.sweep.worker import FAILED, INFEASIBLE, Row, Task, evaluate, failed

if TYPE_CHECKING:
    import pandas as pd

TICK_S: Final = 0.5
"""How often progress is told while nothing finishes."""
MAX_DEATHS: Final = 4
"""Points in a row that may each kill a worker before the sweep gives up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is."""

    done: int
    total: int
    infeasible: int
    failed: int
    points_per_s: float
    """Of this process; 0 before its first point."""

    @property
    def remaining_s(self) -> float | None:
        """Estimate of what is left; None before the first point."""
        if not self.points_per_s:
            return None
        return (self.total - self.done) / self.points_per_s


Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A sweep that is done."""

    frame: "pd.DataFrame"
    n_points: int
    n_run: int
    """Points simulated by this process; the others were there."""
    n_equal: int
    """Points left out because another has the same configuration."""
    wall_s: float
    records: list[dict[str, Any]]
    """The same rows as plain data, if they were asked for."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sweep would take."""

    n_points: int
    n_done: int
    n_workers: int
    point_s: float
    """Mean of the points timed, which start with an empty memory."""
    n_timed: int

    @property
    def wall_s(self) -> float:
        """For what is left."""
        return (self.n_points - self.n_done) * self.point_s / self.n_workers


def sweep(
    config: Source,
    set: Sequence[str] | Mapping[str, Any] = (),
    *,
    output: Path | str | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    executor: Executor | None = None,
    progress: Listener | None = None,
) -> "pd.DataFrame":
    """Run every point of a sweep; the same rows for any number of workers.

    Parameters
    ----------
    config
        A sweep file, or the same fields as a mapping.
    set
        Overrides of all points, as for `run`.
    output
        Folder that takes the results point by point; a sweep cut short goes on where it was. None
        keeps no files.
    jobs
        Processes; by default one per core, 1 for this process alone.
    cluster
        Address of a Dask scheduler to use instead.
    executor
        Any executor to use instead; it is left open.
    progress
        Told about progress.

    Returns
    -------
    pandas.DataFrame
        One row per distinct configuration, `config_hash` its key.

    Raises
    ------
    InputError
        The sweep file, the folder or the workers cannot be used.
    """
    with workers(jobs, cluster, executor) as found:
        return run_plan(load(config, set), found, output, progress).frame


@contextmanager
def workers(
    jobs: int | None = None, address: str | None = None, executor: Executor | None = None
) -> Iterator[Workers]:
    """Where points run; at most one of the three is given."""
    if sum(choice is not None for choice in (jobs, address, executor)) > 1:
        raise InputError("workers", "give one of jobs, cluster, executor")
    if address is not None:
        with cluster(address) as found:
            yield found
    else:
        yield local(jobs) if executor is None else given(executor)


def run_plan(
    plan: Plan,
    found: Workers,
    output: Path | str | None = None,
    progress: Listener | None = None,
    *,
    records: bool = False,
) -> Outcome:
    """As `sweep`, for a sweep that is read already."""
    started = time.perf_counter()
    with ExitStack() as stack:
        if output is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ndpsim-sweep-"))
            output = Path(folder) / "sweep"
        store = stack.enter_context(files.opened(output, plan.header))
        run = _Run(plan, found, store, progress)
        n_equal = run.search() if plan.spec.search else run.all()
        table = Table(store.rows, plan.goals)
        frame = table.frame()
        plain = table.records() if records else []
        store.finish(table.write)
        wall_s = time.perf_counter() - started
        meta = {"wall_s": wall_s, "n_run": run.n_run, "workers": found.n_workers}
        files.write_meta(store.folder, {**meta, "host": platform.node()})
    return Outcome(frame, plan.n_points, run.n_run, n_equal, wall_s, plain)


def load_sweep(folder: Path | str) -> "pd.DataFrame":
    """The rows of a sweep's folder, finished or not.

    Raises
    ------
    InputError
        It is not one, or cannot be read.
    """
    goals = list(files.read_header(folder)["objectives"].values())
    rows = files.read_rows(folder)
    return Table(lambda: rows, goals).frame()


def estimate(plan: Plan, found: Workers, output: Path | str | None = None) -> Estimate:
    """Count the points and time one of them (up to three, if they are quick)."""
    n_done = files.check(output, plan.header) if output is not None else 0
    times = list[float]()
    for task in _samples(plan):
        started = time.perf_counter()
        evaluate(task)
        times.append(time.perf_counter() - started)
        if sum(times) > 2:
            break
    # The first compiles or loads kernels; later ones show what a point takes.
    steady = times[1:] or times
    return Estimate(plan.n_points, n_done, found.n_workers, sum(steady) / len(steady), len(steady))


def _samples(plan: Plan) -> Iterator[Task]:
    if plan.spec.search:
        first = {path: axis.ends[0] for path, axis in plan.axes.items()}
        last = {path: axis.ends[-1] for path, axis in plan.axes.items()}
        yield from (plan.task(0, values) for values in (first, first, last))
    else:
        last_point = plan.n_points - 1
        for index in (0, last_point // 2, last_point):
            yield plan.task(index, plan.values(index))


@dataclass
class _Run:
    """A sweep under way."""

    plan: Plan
    found: Workers
    store: Store
    progress: Listener | None
    n_run: int = 0
    _n_total: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def all(self) -> int:
        """Run the points of a list or product that are not done; how many equal others."""
        self._n_total = self.plan.n_points
        with self._executor() as pool:
            pool.run(self._todo())
        return self.plan.n_points - len(self.store.lines)

    def search(self) -> int:
        """Run generation by generation, told in order; how many points equal others."""
        search, index = Search(self.plan), 0
        self._n_total = self.plan.n_points
        known: dict[str, int] = {}
        with self._executor() as pool:
            for generation in search.generations():
                places, todo = [], list[tuple[Task, Values]]()
                for values in generation:
                    task = self._task(index, values)
                    key = "" if task is None else digest(task.document)
                    place = known.setdefault(key or str(index), index)
                    places.append(place)
                    if task is None:
                        pass
                    elif place == index:
                        self._prepare(task, values)
                        if not self._is_done(index):
                            todo.append((task, values))
                    else:
                        self._n_total -= 1
                    index += 1
                pool.run(todo)
                search.tell([self.store.row(place) for place in places])
        return index - len(self.store.lines)

    def _todo(self) -> Iterator[tuple[Task, Values]]:
        known: set[int] = set()
        for index in range(self.plan.n_points):
            values = self.plan.values(index)
            task = self._task(index, values)
            if task is None:
                continue
            key = int(digest(task.document)[:16], 16)
            if key in known:
                self._n_total -= 1
                continue
            known.add(key)
            self._prepare(task, values)
            if not self._is_done(index):
                yield task, values

    def _task(self, index: int, values: Values) -> Task | None:
        """A point as a worker takes it; None, and a row, where its values do not go together."""
        try:
            return self.plan.task(index, values)
        except ConfigError as error:
            if not self._is_done(index):
                self._accept(_unusable(index, values, error), values)
            return None

    def _prepare(self, task: Task, values: Values) -> None:
        path = self.store.config(task.index)
        if not path.exists():
            self.store.put_config(task.index, self.plan.text(task, values))

    def _is_done(self, index: int) -> bool:
        """Points that broke off are tried again."""
        return index in self.store.lines and self.store.row(index)["status"] != FAILED

    @contextmanager
    def _executor(self) -> Iterator["_Pool"]:
        pool = _Pool(self.found, self._accept, self._tell)
        try:
            yield pool
        finally:
            pool.close()

    def _accept(self, row: Row, values: Values) -> None:
        self.store.add({**row, "values": values})
        self.n_run += 1
        self._tell()

    def _tell(self) -> None:
        if self.progress is None:
            return
        elapsed_s = time.perf_counter() - self._started
        counts = self.store.counts
        self.progress(
            Progress(
                done=sum(counts.values()),
                total=self._n_total,
                infeasible=counts[INFEASIBLE],
                failed=counts[FAILED],
                points_per_s=self.n_run / elapsed_s,
            )
        )


class _Pool:
    """Keeps an executor busy, and starts another where workers die."""

    def __init__(
        self,
        found: Workers,
        accept: Callable[[Row, Values], None],
        tick: Callable[[], None],
    ) -> None:
        self._found, self._accept, self._tick = found, accept, tick
        self._executor: Executor | None = None
        self._pending: dict[Future[Row], tuple[Task, Values]] = {}

    def run(self, points: Iterable[tuple[Task, Values]]) -> None:
        """Run all points; each is accepted as soon as it is done."""
        n_deaths = 0
        for suspect in self._run(points, self._found.window):
            # One at a time, to see which of them kills its worker.
            lost = self._run([suspect], 1)
            n_deaths = n_deaths + 1 if lost else 0
            if n_deaths > MAX_DEATHS:
                raise SimulationError("sweep", "workers die one after the other; is memory short?")
            for task, values in lost:
                why = "its worker process died, which is what too little memory looks like"
                self._accept(failed(task.index, task.document, why), values)

    def _run(self, points: Iterable[tuple[Task, Values]], window: int) -> list[tuple[Task, Values]]:
        """Run points; those that were under way when a worker died come back."""
        suspects: list[tuple[Task, Values]] = []
        for point in points:
            while len(self._pending) >= window:
                suspects += self._collect()
            suspects += self._submit(point)
        while self._pending:
            suspects += self._collect()
        return suspects

    def _submit(self, point: tuple[Task, Values]) -> list[tuple[Task, Values]]:
        if self._executor is None:
            self._executor = self._found.start()
        try:
            self._pending[self._executor.submit(evaluate, point[0])] = point
        except BrokenExecutor:
            return [*self._broken(), point]
        return []

    def _collect(self) -> list[tuple[Task, Values]]:
        """Accept what is done; the points lost where a worker died."""
        done, _ = wait(self._pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
        for future in done:
            task, values = self._pending[future]
            try:
                row = future.result()
            except BrokenExecutor:
                return self._broken()
            except CancelledError:
                raise SimulationError(
                    "sweep", "the workers have gone; run it again with the same -o to go on"
                ) from None
            except Exception as error:
                what = f"{type(error).__name__}: {' '.join(str(error).split())}"
                row = failed(task.index, task.document, f"not run by its worker: {what}")
            del self._pending[future]
            self._accept(row, values)
        if not done:
            self._tick()
        return []

    def _broken(self) -> list[tuple[Task, Values]]:
        lost = list(self._pending.values())
        self._pending.clear()
        if not self._found.owned:
            raise SimulationError("sweep", "the executor is broken; a worker process died")
        self.close()
        return lost

    def close(self) -> None:
        """Let workers of ours go; those that are still at work are stopped."""
        if self._executor is None:
            return
        if not self._found.owned:
            for future in self._pending:
                future.cancel()
            return
        processes = dict(getattr(self._executor, "_processes", None) or {})
        busy = bool(self._pending)
        self._executor.shutdown(wait=not busy, cancel_futures=True)
        for process in processes.values() if busy else ():
            process.terminate()
        self._executor = None


def _unusable(index: int, values: Values, error: ConfigError) -> Row:
    return failed(index, values, str(error)) | {"status": INFEASIBLE}
