"""An integer-picosecond clock over SimPy: tasks, flows, probes.

One engine simulates one stage from t = 0. A job is a task (exclusive use of a named resource), a
flow (bytes along a route), an occupation (a flow resource held at full rate, yielding to higher
classes) or a delay. A job starts when all jobs in `after` have ended. Ties break by order of
creation.
"""

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import simpy
from simpy.core import EmptySchedule

from ndpsim.engine.flows import Flow, FlowNetwork, bottleneck
from ndpsim.errors import Deadlock
from ndpsim.units import PS_PER_S

Steps = Generator[simpy.Event, Any, None]

LATENCY = "latency"
"""Where time is charged that passes without using a resource."""

N_TOLD = 5
"""Outstanding jobs that a `Deadlock` names."""


class Job:
    """A piece of work: `ready_ps` when its predecessors ended, then `start_ps`, `end_ps`.

    A flow starts after its latency, a task when its resource is free; `end_ps` is -1 until the job
    has ended. `cause` is the job whose end let this one start; following causes from the last job
    gives the critical path. `moves` is what a flow or an occupation has under way.
    """

    __slots__ = (
        "after",
        "cause",
        "end_ps",
        "event",
        "moves",
        "name",
        "ready_ps",
        "resource",
        "start_ps",
    )

    def __init__(
        self, name: str, resource: str, event: simpy.Event, after: Sequence["Job"]
    ) -> None:
        self.name = name
        self.resource = resource
        self.event = event
        self.after = tuple(after)
        self.moves: Flow | None = None
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
        Called with a `Record` for each step of a task, flow and occupation that has ended; None
        costs nothing. Delays use nothing and are not recorded.

    Raises
    ------
    ValueError
        A capacity is not positive.
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
        self._jobs: list[Job] = []

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
        job = self._job(name, resource, after)
        self._env.process(self._work(job, steps))
        return job

    def delay(self, name: str, duration_ps: int, after: Sequence[Job] = ()) -> Job:
        """Time that passes without using anything."""
        job = self._job(name, LATENCY, after)
        self._env.process(self._pass(job, duration_ps))
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
        job = self._job(name, bottleneck(route, self._capacity), after)
        job.moves = Flow(route, n_bytes * PS_PER_S, priority, self._env.event(), n_bytes)
        self._env.process(self._move(job, job.moves, latency_ps))
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
        job = self._job(name, resource, after)
        self._env.process(self._hold(job, duration_ps, priority))
        return job

    def call(self, generator: Steps) -> None:
        """Run a SimPy process beside the jobs; it may create jobs and wait for their events."""
        self._env.process(generator)

    def run(self, until: Job) -> int:
        """Run until a job has ended, and all that happens at that instant; its end in picoseconds.

        Raises
        ------
        Deadlock
            Nothing can happen any more and the job has not ended; says which jobs are outstanding.
        """
        try:
            while until.end_ps < 0:
                self._env.step()
        except EmptySchedule:
            raise Deadlock("engine", f"nothing can happen any more: {self._waiting()}") from None
        while self._env.peek() == self._env.now:
            self._env.step()
        return until.end_ps

    def flows_left(self) -> dict[Job, int]:
        """Bytes that have not arrived by now, by the flow that moves them, oldest first."""
        self._network.advance()
        return {
            job: job.moves.bytes_left
            for job in self._jobs
            if job.moves and job.moves.n_bytes and job.end_ps < 0
        }

    def busy_ps(self) -> dict[str, int]:
        """Busy time by resource until now; of an exclusive one, by tasks that have ended."""
        return self._task_busy_ps | self._network.busy_ps()

    def bytes_moved(self) -> dict[str, int]:
        """Whole bytes moved until now, by flow resource."""
        return self._network.bytes_moved()

    def critical_ps(self, last: Job) -> dict[str, int]:
        """Time by resource along the chain of causes that ends in `last`; it sums to its end.

        A task is charged to its resource, a flow to the resource that limited it at each time,
        delays, a flow's latency and the time before a job was created to "latency".
        """
        charged: Counter[str] = Counter()
        job: Job | None = last
        while job:
            cause_end_ps = job.cause.end_ps if job.cause else 0
            charged[LATENCY] += job.start_ps - cause_end_ps
            if job.moves:
                charged.update(job.moves.limited_ps)
            else:
                charged[job.resource] += job.end_ps - job.start_ps
            job = job.cause
        return {resource: time_ps for resource, time_ps in charged.items() if time_ps}

    def _job(self, name: str, resource: str, after: Sequence[Job]) -> Job:
        job = Job(name, resource, self._env.event(), after)
        self._jobs.append(job)
        return job

    def _waiting(self) -> str:
        """The first few jobs that have not ended and what each waits for."""
        outstanding = [job for job in self._jobs if job.end_ps < 0]
        told = []
        for job in outstanding[:N_TOLD]:
            others = [f"'{other.name}'" for other in job.after if other.end_ps < 0]
            told.append(f"'{job.name}' waits for {' and '.join(others) or job.resource}")
        if len(outstanding) > N_TOLD:
            told.append(f"{len(outstanding) - N_TOLD} more")
        return "; ".join(told)

    def _ready(self, job: Job) -> Steps:
        for other in job.after:
            if other.end_ps < 0:
                yield other.event
        job.ready_ps = job.start_ps = self.now_ps
        if job.after:
            job.cause = max(job.after, key=lambda other: other.end_ps)

    def _work(self, job: Job, steps: Sequence[tuple[str, int]]) -> Steps:
        yield from self._ready(job)
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

    def _pass(self, job: Job, duration_ps: int) -> Steps:
        yield from self._ready(job)
        yield self._env.timeout(duration_ps)
        self._end(job)

    def _hold(self, job: Job, duration_ps: Callable[[int], int], priority: int) -> Steps:
        yield from self._ready(job)
        work = duration_ps(self.now_ps) * self._capacity[job.resource]
        job.moves = Flow((job.resource,), work, priority, self._env.event(), 0)
        yield from self._carry(job, job.moves)

    def _move(self, job: Job, flow: Flow, latency_ps: int) -> Steps:
        yield from self._ready(job)
        if latency_ps:
            yield self._env.timeout(latency_ps)
        yield from self._carry(job, flow)

    def _carry(self, job: Job, flow: Flow) -> Steps:
        job.start_ps = self.now_ps
        self._network.start(flow)
        yield flow.done
        if self._probe:
            self._probe(Record(job.name, job.resource, job.start_ps, self.now_ps, flow.n_bytes))
        self._end(job)

    def _end(self, job: Job) -> None:
        job.end_ps = self.now_ps
        job.event.succeed()
