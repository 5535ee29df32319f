"""An integer-picosecond clock over SimPy: tasks, flows, probes.

One engine simulates one stage from t = 0. A job is a task (exclusive use of a named resource), a
flow (bytes along a route), an occupation (a flow resource held at full rate, yielding to higher
classes) or a delay. A job starts when all jobs in `after` have ended. Ties break by order of
creation.
"""

from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import simpy
from simpy.core import EmptySchedule

from ndpsim.engine.flows import Flow, FlowNetwork, bottleneck, call_after
from ndpsim.errors import Deadlock
from ndpsim.units import PS_PER_S

Steps = Generator[simpy.Event, Any, None]
"""A SimPy process."""

StepTimes = Sequence[tuple[str, int]]
"""(name, picoseconds) of the steps of a task."""

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
        "_env",
        "_event",
        "after",
        "begin",
        "cause",
        "end_ps",
        "followers",
        "moves",
        "n_pending",
        "name",
        "ready_ps",
        "resource",
        "start_ps",
    )

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        resource: str,
        after: tuple["Job", ...],
        begin: Callable[["Job"], None],
    ) -> None:
        self._env = env
        self._event: simpy.Event | None = None
        self.name = name
        self.resource = resource
        self.after = after
        self.begin = begin
        self.followers: list[Job] = []
        self.n_pending = 0
        self.moves: Flow | None = None
        self.ready_ps = 0
        self.start_ps = 0
        self.end_ps = -1
        self.cause: Job | None = None

    @property
    def event(self) -> simpy.Event:
        """Happens when the job ends, for processes that wait for it (`Engine.call`)."""
        if self._event is None:
            self._event = self._env.event()
            if self.end_ps >= 0:
                self._event.succeed()
        return self._event

    def end(self) -> None:
        """End now, and let whoever waits for it know."""
        self.end_ps = int(self._env.now)
        if self._event is not None:
            self._event.succeed()
        followers, self.followers = self.followers, []
        for job in followers:
            job.n_pending -= 1
            if not job.n_pending:
                job.get_ready()

    def get_ready(self) -> None:
        """Begin now: all predecessors have ended."""
        self.ready_ps = self.start_ps = int(self._env.now)
        if self.after:
            self.cause = max(self.after, key=lambda other: other.end_ps)
        begin, self.begin = self.begin, _done  # what has begun leaves no cycle of references
        begin(self)


def _done(job: Job) -> None:
    raise AssertionError(f"'{job.name}' begins twice")


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
        self._queues: dict[str, deque[tuple[Job, StepTimes]]] = {}
        """By exclusive resource: the task that holds it, then those that wait."""
        self._task_busy_ps: dict[str, int] = {}
        self._probe = probe
        self._jobs: list[Job] = []

    @property
    def now_ps(self) -> int:
        """Picoseconds since the engine's start."""
        return int(self._env.now)

    def task(self, name: str, resource: str, duration_ps: int, after: Sequence[Job] = ()) -> Job:
        """Use `resource` alone for a duration; tasks are served in order of readiness."""
        return self.sequence(name, resource, ((name, duration_ps),), after)

    def sequence(
        self, name: str, resource: str, steps: StepTimes, after: Sequence[Job] = ()
    ) -> Job:
        """Named steps (name, picoseconds) back to back on one exclusive resource."""
        return self._job(name, resource, after, lambda job: self._queue_up(job, steps))

    def delay(self, name: str, duration_ps: int, after: Sequence[Job] = ()) -> Job:
        """Time that passes without using anything."""
        return self._job(name, LATENCY, after, lambda job: self._wait(duration_ps, job.end))

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
        flow = Flow(route, n_bytes * PS_PER_S, priority, n_bytes)

        def begin(job: Job) -> None:
            if latency_ps:
                self._wait(latency_ps, lambda: self._carry(job, flow))
            else:
                self._carry(job, flow)

        job = self._job(name, bottleneck(route, self._capacity), after, begin)
        job.moves = flow
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

        def begin(job: Job) -> None:
            work = duration_ps(self.now_ps) * self._capacity[resource]
            job.moves = Flow((resource,), work, priority, 0)
            self._carry(job, job.moves)

        return self._job(name, resource, after, begin)

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

    def _job(
        self, name: str, resource: str, after: Sequence[Job], begin: Callable[[Job], None]
    ) -> Job:
        job = Job(self._env, name, resource, tuple(after), begin)
        self._jobs.append(job)
        for other in job.after:
            if other.end_ps < 0:
                other.followers.append(job)
                job.n_pending += 1
        if not job.n_pending:
            job.get_ready()
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

    def _wait(self, duration_ps: int, action: Callable[[], None]) -> None:
        call_after(self._env, duration_ps, action)

    def _queue_up(self, job: Job, steps: StepTimes) -> None:
        queue = self._queues.setdefault(job.resource, deque())
        queue.append((job, steps))
        if len(queue) == 1:
            self._serve(queue)

    def _serve(self, queue: deque[tuple[Job, StepTimes]]) -> None:
        """Let the first of a queue have the resource, then the next."""
        job, steps = queue[0]
        job.start_ps = self.now_ps
        duration_ps = sum(step_ps for _, step_ps in steps)

        def leave() -> None:
            self._task_busy_ps[job.resource] = self._task_busy_ps.get(job.resource, 0) + duration_ps
            if self._probe:
                start_ps = job.start_ps
                for name, step_ps in steps:
                    self._probe(Record(name, job.resource, start_ps, start_ps + step_ps))
                    start_ps += step_ps
            queue.popleft()
            if queue:
                following, _ = queue[0]
                if following.ready_ps < self.now_ps:
                    following.cause = job
                self._serve(queue)
            job.end()

        self._wait(duration_ps, leave)

    def _carry(self, job: Job, flow: Flow) -> None:
        job.start_ps = self.now_ps

        def arrive() -> None:
            if self._probe:
                self._probe(Record(job.name, job.resource, job.start_ps, self.now_ps, flow.n_bytes))
            job.end()

        self._network.start(flow, arrive)
