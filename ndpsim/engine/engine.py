"""An integer-picosecond clock over SimPy: tasks, flows, probes.

One engine simulates one stage from t = 0. A job is a task (exclusive use of a named resource), a
flow (bytes along a route), an occupation (a flow resource held at full rate, yielding to higher
classes) or a delay. A job starts when all jobs in `after` have ended. Ties break by order of
creation.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import simpy

from ndpsim.engine.flows import Flow, FlowNetwork, bottleneck
from ndpsim.errors import Deadlock
from ndpsim.units import PS_PER_S

Steps = Generator[simpy.Event, Any, None]


class Job:
    """A piece of work: `ready_ps` when its predecessors ended, then `start_ps`, `end_ps`.

    `cause` is the job whose end let this one start; following causes from the last job gives the
    critical path.
    """

    __slots__ = ("cause", "end_ps", "event", "name", "ready_ps", "resource", "start_ps")

    def __init__(self, name: str, resource: str, event: simpy.Event) -> None:
        self.name = name
        self.resource = resource
        self.event = event
        self.ready_ps = 0
        self.start_ps = 0
        self.end_ps = -1
        self.cause: Job | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a probe sees of a finished piece of work; times relative to the engine's start."""

    name: str
    resource: str
    start_ps: int
    end_ps: int
    n_bytes: int = 0


class Probe(Protocol):
    """An observer; never changes what it observes."""

    def __call__(self, record: Record) -> None:
        """Take note of one finished piece of work."""


class Engine:
    """A fresh clock with exclusive resources and shared flow resources.

    Parameters
    ----------
    capacity
        Flow resources and their capacity in bytes per second.
    exclusive
        Flow resources that serve one priority class at a time.
    probe
        Called with a `Record` for each finished job; None costs nothing.
    """

    def __init__(
        self,
        capacity: Mapping[str, int],
        exclusive: frozenset[str] = frozenset(),
        probe: Probe | None = None,
    ) -> None:
        self._env = simpy.Environment()
        self._capacity = capacity
        self._network = FlowNetwork(self._env, capacity, exclusive)
        self._turns: dict[str, simpy.Resource] = {}
        self._holder: dict[str, Job] = {}
        self._task_busy_ps: dict[str, int] = {}
        self._probe = probe
        self._flows: dict[Flow, Job] = {}

    @property
    def now_ps(self) -> int:
        """Picoseconds since the engine's start."""
        return int(self._env.now)

    def task(self, name: str, resource: str, duration_ps: int, after: Sequence[Job] = ()) -> Job:
        """Use `resource` alone for a duration; requests are served in order of readiness."""
        return self.sequence(name, resource, ((name, duration_ps),), after)

    def sequence(
        self,
        name: str,
        resource: str,
        steps: Sequence[tuple[str, int]],
        after: Sequence[Job] = (),
    ) -> Job:
        """Named steps (name, picoseconds) back to back on one exclusive resource."""
        job = self._job(name, resource)
        self._env.process(self._work(job, steps, after))
        return job

    def delay(self, name: str, duration_ps: int, after: Sequence[Job] = ()) -> Job:
        """Time that passes without using anything."""
        job = self._job(name, "latency")
        self._env.process(self._pass(job, duration_ps, after))
        return job

    def flow(
        self,
        name: str,
        route: tuple[str, ...],
        n_bytes: int,
        *,
        latency_ps: int = 0,
        priority: int = 0,
        after: Sequence[Job] = (),
    ) -> Job:
        """Move bytes along a route, after a fixed latency."""
        job = self._job(name, bottleneck(route, self._capacity))
        flow = Flow(route, n_bytes * PS_PER_S, priority, self._env.event(), n_bytes)
        self._env.process(self._move(job, flow, latency_ps, after))
        return job

    def occupy(
        self,
        name: str,
        resource: str,
        duration_ps: Callable[[int], int],
        *,
        priority: int = 0,
        after: Sequence[Job] = (),
    ) -> Job:
        """Hold a flow resource at its full rate for some undisturbed time.

        The time, in picoseconds, is a function of when the occupation starts.
        """
        job = self._job(name, resource)
        self._env.process(self._hold(job, duration_ps, priority, after))
        return job

    def call(self, generator: Steps) -> None:
        """Run a SimPy process beside the jobs; it may create jobs and wait for their events."""
        self._env.process(generator)

    def run(self, until: Job) -> int:
        """Run until a job has ended; its end in picoseconds.

        Raises
        ------
        Deadlock
            Nothing can happen any more and the job has not ended.
        """
        if until.end_ps < 0:
            try:
                self._env.run(until.event)
            except RuntimeError as error:
                if until.event.triggered:
                    raise
                raise Deadlock(
                    "engine", f"'{until.name}' waits for something that never ends"
                ) from error
        return until.end_ps

    def flows_left(self) -> dict[Job, int]:
        """Bytes that have not arrived yet, by the job that moves them, oldest first."""
        return {self._flows[flow]: flow.bytes_left for flow in self._network.settle()}

    def busy_ps(self) -> dict[str, int]:
        """Busy time by resource; call after `flows_left`."""
        return self._task_busy_ps | self._network.busy_ps

    def bytes_moved(self) -> dict[str, int]:
        """Whole bytes moved by flow resource; call after `flows_left`."""
        return self._network.n_bytes

    def critical_ps(self, last: Job) -> dict[str, int]:
        """Time by resource along the chain of causes that ends in `last`; it sums to its end.

        The time of a job that ran is charged to its resource, from the end of its cause on.
        """
        charged: dict[str, int] = {}
        job: Job | None = last
        end_ps = last.end_ps
        while job is not None:
            start_ps = min(job.cause.end_ps, end_ps) if job.cause else 0
            charged[job.resource] = charged.get(job.resource, 0) + end_ps - start_ps
            job, end_ps = job.cause, start_ps
        return charged

    def _job(self, name: str, resource: str) -> Job:
        return Job(name, resource, self._env.event())

    def _ready(self, job: Job, after: Sequence[Job]) -> Steps:
        for other in after:
            if other.end_ps < 0:
                yield other.event
        job.ready_ps = job.start_ps = self.now_ps
        if after:
            job.cause = max(after, key=lambda other: other.end_ps)

    def _work(self, job: Job, steps: Sequence[tuple[str, int]], after: Sequence[Job]) -> Steps:
        yield from self._ready(job, after)
        turns = self._turns.get(job.resource)
        if turns is None:
            turns = self._turns[job.resource] = simpy.Resource(self._env)
        with turns.request() as turn:
            yield turn
            job.start_ps = self.now_ps
            if job.start_ps > job.ready_ps:
                job.cause = self._holder[job.resource]
            for name, duration_ps in steps:
                start_ps = self.now_ps
                yield self._env.timeout(duration_ps)
                if self._probe:
                    self._probe(Record(name, job.resource, start_ps, self.now_ps))
            self._holder[job.resource] = job
        busy_ps = self.now_ps - job.start_ps
        self._task_busy_ps[job.resource] = self._task_busy_ps.get(job.resource, 0) + busy_ps
        self._end(job)

    def _pass(self, job: Job, duration_ps: int, after: Sequence[Job]) -> Steps:
        yield from self._ready(job, after)
        yield self._env.timeout(duration_ps)
        self._end(job)

    def _hold(
        self, job: Job, duration_ps: Callable[[int], int], priority: int, after: Sequence[Job]
    ) -> Steps:
        yield from self._ready(job, after)
        work = duration_ps(self.now_ps) * self._capacity[job.resource]
        yield from self._carry(job, Flow((job.resource,), work, priority, self._env.event(), 0))

    def _move(self, job: Job, flow: Flow, latency_ps: int, after: Sequence[Job]) -> Steps:
        yield from self._ready(job, after)
        if latency_ps:
            yield self._env.timeout(latency_ps)
        yield from self._carry(job, flow)

    def _carry(self, job: Job, flow: Flow) -> Steps:
        job.start_ps = self.now_ps
        self._flows[flow] = job
        self._network.start(flow)
        yield flow.done
        if self._probe:
            self._probe(Record(job.name, job.resource, job.start_ps, self.now_ps, flow.n_bytes))
        self._end(job)

    def _end(self, job: Job) -> None:
        job.end_ps = self.now_ps
        job.event.succeed()
