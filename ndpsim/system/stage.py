"""Simulate one stage: a pure function of machine, dispatch policy and situation.

An expert stage, from the router's output to the combined output:

    gpu      shared experts | resident experts, then fetched ones as they arrive | combine
    host     router ids in, decision, then copies (two staging buffers) and doorbells out
    units    activations in, experts near their weights, one vector per token out
    reduce   on the GPU, on the CPU, or along DIMM-Link
    cpu      activations in, experts on the host's cores, one vector per token out

Transfers under way from earlier stages go on beside it at the lowest priority. Demand copies come
before near-data work where the machine does not let both use a unit's memory.
"""

from collections.abc import Sequence
from functools import partial

from ndpsim import cpu, gpu
from ndpsim.engine import Engine, Job, Probe, Steps
from ndpsim.errors import InvariantError
from ndpsim.memo import Memo
from ndpsim.ndp import ExpertSlice, execute
from ndpsim.policy import Dispatch, Plan, Slot
from ndpsim.system.costs import StageCosts, combine_operator, cpu_ps, expert_work, resident_work
from ndpsim.system.machine import GPU, HOST, Machine, ranks_of
from ndpsim.system.residency import queue_of
from ndpsim.system.situation import Amounts, Outcome, Queue, Situation, Transfer
from ndpsim.workload import Operator

DEMAND, NEAR, PREFETCH = 0, 1, 2
"""Strict priority classes of flows; a lower number is served first."""

ROUTER_BYTES = 4
"""Bytes the CPU gets per routed (token, expert): a 2-byte id and a 2-byte gate weight."""

STAGING_BUFFERS = 2
"""Experts fetched on demand that GPU memory holds at a time."""


def simulate(memo: Memo, machine: Machine, dispatch: Dispatch, situation: Situation) -> Outcome:
    """Run a situation on a fresh engine from t = 0 until its required work has ended."""
    return Stage(memo, machine, dispatch, situation).run()


class Stage:
    """One stage under construction and in progress; `probe` sees every finished job."""

    def __init__(
        self,
        memo: Memo,
        machine: Machine,
        dispatch: Dispatch,
        situation: Situation,
        probe: Probe | None = None,
    ) -> None:
        self._memo = memo
        self._machine = machine
        self._dispatch = dispatch
        self._situation = situation
        self._engine = Engine(machine.capacity, machine.exclusive, probe)
        self._n_arrived = 0
        self._under_way: list[Job] = []
        self._plan: Plan | None = None
        self._flop: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._commands: dict[str, int] = {}
        self._near_busy_ps: dict[str, int] = {}

    def run(self) -> Outcome:
        """Simulate until the required work has ended."""
        last = self._experts() if self._situation.kind == "experts" else self._operators()
        duration_ps = self._engine.run(last)
        queue = self._queue_left()
        moved = self._engine.bytes_moved()
        for resource, n_bytes in moved.items():
            _add(self._bytes, resource, n_bytes)
        return Outcome(
            duration_ps=duration_ps,
            queue=queue,
            n_arrived=self._n_arrived,
            plan=self._plan,
            busy_ps=_amounts(self._engine.busy_ps() | self._near_busy_ps),
            n_bytes=_amounts(self._bytes),
            flop=_amounts(self._flop),
            commands=_amounts(self._commands),
            critical_ps=_amounts(self._engine.critical_ps(last)),
        )

    # --- the GPU -------------------------------------------------------------------------------

    def _operators(self) -> Job:
        if self._situation.queue:
            self._engine.call(self._prefetch(()))
        return self._on_gpu("operators", self._situation.operators)

    def _on_gpu(self, name: str, operators: Sequence[Operator], after: Sequence[Job] = ()) -> Job:
        spec = self._machine.system.gpu
        steps = [(op.name, self._memo(gpu.operator_ps, spec, op)) for op in operators]
        for operator in operators:
            _add(self._flop, GPU, operator.flop)
            _add(self._bytes, GPU, operator.n_bytes)
        return self._engine.sequence(name, GPU, steps, after)

    # --- an expert stage -----------------------------------------------------------------------

    def _experts(self) -> Job:
        situation, machine = self._situation, self._machine
        view = StageCosts(self._memo, machine, situation.phase, situation.slots, situation.n_tokens)
        plan = self._plan = self._dispatch.plan(view)
        _check(plan, situation.slots)
        done: list[Job] = []
        if situation.gate:
            done.append(self._on_gpu("next gate", situation.gate))
        if situation.queue:
            self._engine.call(self._prefetch(tuple(done)))
        if situation.operators:
            done.append(self._on_gpu("shared experts", situation.operators))
        decided = self._decide()
        done += self._gpu_experts(plan, decided)
        parts = self._near_experts(plan, decided) + self._cpu_experts(plan, decided)
        done += [job for job, _ in parts]
        n_gpu_parts = len(plan.gpu) and min(machine.model.top_k, len(plan.gpu))
        n_vectors = n_gpu_parts + bool(situation.operators)
        n_read = n_vectors * situation.n_tokens + sum(n for _, n in parts)
        combine = combine_operator(machine, n_read, situation.n_tokens)
        return self._on_gpu("combine", (combine,), done)

    def _decide(self) -> Job:
        """The scheduler's decision: on the host behind the router's output, or before it."""
        situation = self._situation
        decision_ps = self._dispatch.decision_ps(len(situation.slots))
        on_gpu = self._dispatch.decision_device == "gpu"
        before = [self._engine.task("decide", GPU, decision_ps)] if on_gpu else []
        host_ps = situation.host_ps + (0 if on_gpu else decision_ps)
        route = self._machine.route(GPU, HOST)
        n_bytes = situation.n_tokens * self._machine.model.top_k * ROUTER_BYTES
        ids = self._send("router ids", route.resources, n_bytes, route.latency_ps, before)
        return self._engine.task("decide", "cpu", host_ps, [ids])

    def _send(
        self,
        name: str,
        route: tuple[str, ...],
        n_bytes: int,
        latency_ps: int,
        after: Sequence[Job] = (),
    ) -> Job:
        """Move bytes on demand; within one device there is nothing to move."""
        if not route:
            return self._engine.delay(name, latency_ps, after)
        return self._engine.flow(name, route, n_bytes, latency_ps=latency_ps, after=after)

    def _gpu_experts(self, plan: Plan, decided: Job) -> list[Job]:
        """Residents first; a copy starts when the one before has arrived and a buffer is free."""
        slots = [self._situation.slots[index] for index in plan.gpu]
        here = tuple(slot.n_tokens for slot in slots if slot.resident)
        resident = resident_work(self._memo, self._machine, here, self._situation.n_tokens)
        jobs = [self._on_gpu("experts", resident, [decided])] if resident else []
        fetched: list[Job] = []
        arrived: list[Job] = []
        issued = decided
        for slot in slots:
            if slot.resident:
                continue
            copies = self._machine.copies[slot.home]
            setup_ps = max(copy.setup_ps + copy.latency_ps for copy in copies)
            sizes = slot.left or [copy.n_bytes for copy in copies]
            issued = self._engine.delay("copy set-up", setup_ps, [issued])
            free = fetched[-STAGING_BUFFERS:][:1] if len(fetched) >= STAGING_BUFFERS else []
            arrived = [
                self._engine.flow("fetch", c.route, n, after=[issued, *arrived, *free])
                for c, n in zip(copies, sizes, strict=True)
            ]
            work = expert_work(self._machine, slot.n_tokens)
            fetched.append(self._on_gpu("expert", work, arrived))
        return jobs + fetched

    def _near_experts(self, plan: Plan, decided: Job) -> list[tuple[Job, int]]:
        """Near-data work of every unit; (arrival on the GPU, vectors that arrive)."""
        work: dict[str, list[ExpertSlice]] = {}
        for index in plan.near:
            slot = self._situation.slots[index]
            for unit, piece in self._machine.slices(slot.home, slot.n_tokens):
                work.setdefault(unit, []).append(piece)
        done = [
            (unit, n_tokens, self._unit(unit, tuple(work[unit]), n_tokens, decided))
            for unit in self._machine.units
            if unit in work
            for n_tokens in [min(self._situation.n_tokens, sum(p.n_tokens for p in work[unit]))]
        ]
        reduce = {"gpu": self._to_gpu, "cpu": self._over_cpu, "dimm-link": self._along_units}
        return reduce[self._machine.ndp.reduce](done) if done else []

    def _cpu_experts(self, plan: Plan, decided: Job) -> list[tuple[Job, int]]:
        """Experts on the host's cores, one after another; (arrival on the GPU, vectors).

        An expert's weights stream from where they live while the cores compute, so host memory is
        shared with copies to the GPU.
        """
        if not plan.cpu:
            return []
        machine = self._machine
        slots = [self._situation.slots[index] for index in plan.cpu]
        n_tokens = min(self._situation.n_tokens, sum(slot.n_tokens for slot in slots))
        before = [self._vectors(GPU, HOST, n_tokens, [decided], name="activations")]
        for slot in slots:
            work = expert_work(machine, slot.n_tokens)
            for operator in work:
                _add(self._flop, "cpu", operator.flop)
            reads = [
                self._send("weights", read.route, read.n_bytes, read.latency_ps, before)
                for read in machine.reads[slot.home]
            ]
            duration_ps = cpu_ps(self._memo, machine, work)
            before = [*reads, self._engine.task("expert", "cpu", duration_ps, before)]
        return [(self._vectors(HOST, GPU, n_tokens, before), n_tokens)]

    def _unit(self, unit: str, pieces: tuple[ExpertSlice, ...], n_tokens: int, decided: Job) -> Job:
        """Activations and the doorbell to a unit, its experts, and the host seeing them done.

        A unit needs at most one vector per token and at most one per (token, expert) it computes.
        """
        ndp = self._machine.ndp
        inputs = self._vectors(GPU, unit, n_tokens, [decided], name="activations")
        command_ps = ndp.doorbell + self._machine.route(HOST, unit).latency_ps
        command = self._engine.delay("doorbell", command_ps + ndp.unit.command_latency, [decided])
        run = self._engine.occupy(
            "experts",
            ranks_of(unit),
            partial(self._execute, unit, pieces),
            priority=NEAR,
            after=[inputs, command],
        )
        return self._engine.delay("poll", ndp.poll, [run])

    def _execute(self, unit: str, pieces: tuple[ExpertSlice, ...], start_ps: int) -> int:
        """Duration of a unit's work from a start; its counts go to the outcome."""
        offset_ps = self._refresh_offset_ps(start_ps)
        execution = self._memo(execute, self._machine.ndp.unit, pieces, offset_ps)
        _add(self._near_busy_ps, unit, execution.duration_ps)
        _add(self._flop, unit, execution.flop)
        _add(self._bytes, ranks_of(unit), execution.n_bytes)
        for command, n in execution.commands:
            _add(self._commands, f"{unit}.{command}", n)
        return execution.duration_ps

    def _refresh_offset_ps(self, start_ps: int) -> int:
        """How far into a refresh interval a time of this stage lies."""
        interval_ps = self._machine.refresh_interval_ps
        if interval_ps == 0:
            return 0
        n_phases = self._machine.system.refresh_phases
        return (self._situation.refresh_phase * interval_ps // n_phases + start_ps) % interval_ps

    # --- reduction -----------------------------------------------------------------------------

    def _to_gpu(self, done: list[tuple[str, int, Job]]) -> list[tuple[Job, int]]:
        """Every unit's vectors to the GPU, which sums them in the combine."""
        return [(self._vectors(unit, GPU, n, [job]), n) for unit, n, job in done]

    def _over_cpu(self, done: list[tuple[str, int, Job]]) -> list[tuple[Job, int]]:
        """Every unit's vectors to the host, summed there, and one vector per token onward."""
        arrived = [self._vectors(unit, HOST, n, [job]) for unit, n, job in done]
        n_tokens = max(n for _, n, _ in done)
        total = combine_operator(self._machine, sum(n for _, n, _ in done), n_tokens)
        _add(self._flop, "cpu", total.flop)
        _add(self._bytes, "cpu", total.n_bytes)
        duration_ps = self._memo(cpu.operator_ps, self._machine.system.cpu, total)
        reduced = self._engine.task("reduce", "cpu", duration_ps, arrived)
        return [(self._vectors(HOST, GPU, n_tokens, [reduced]), n_tokens)]

    def _along_units(self, done: list[tuple[str, int, Job]]) -> list[tuple[Job, int]]:
        """A chain over DIMM-Link: each unit adds its vectors to those of the unit before."""
        unit, n_tokens, job = done[0]
        for following, n, ready in done[1:]:
            n_tokens = max(n_tokens, n)
            job = self._vectors(unit, following, n_tokens, [job, ready])
            unit = following
        return [(self._vectors(unit, GPU, n_tokens, [job]), n_tokens)]

    def _vectors(
        self, src: str, dst: str, n_tokens: int, after: Sequence[Job], name: str = "results"
    ) -> Job:
        route = self._machine.route(src, dst)
        n_bytes = self._machine.vector_bytes(n_tokens)
        return self._send(name, route.resources, n_bytes, route.latency_ps, after)

    # --- prefetch ------------------------------------------------------------------------------

    def _prefetch(self, after: Sequence[Job]) -> Steps:
        """Move queued transfers one after another, each as one flow per shard."""
        for job in after:
            if job.end_ps < 0:
                yield job.event
        for transfer, count in self._situation.queue:
            copies = self._machine.copies[transfer.home]
            for _ in range(count):
                self._under_way = [
                    self._engine.flow("prefetch", copy.route, left, priority=PREFETCH)
                    for copy, left in zip(copies, transfer.left, strict=True)
                ]
                for job in self._under_way:
                    if job.end_ps < 0:
                        yield job.event
                self._n_arrived += 1

    def _queue_left(self) -> Queue:
        """The queue without what has arrived; the transfer under way with its bytes left."""
        bytes_left = self._engine.flows_left()
        left = [t for transfer, count in self._situation.queue for t in [transfer] * count]
        del left[: self._n_arrived]
        if left:
            rest = tuple(bytes_left.get(job, 0) for job in self._under_way)
            left[0] = Transfer(left[0].home, rest)
        return queue_of(left)


def _check(plan: Plan, slots: tuple[Slot, ...]) -> None:
    if sorted((*plan.gpu, *plan.near, *plan.cpu)) != list(range(len(slots))):
        raise InvariantError("dispatch", f"plan {plan} does not cover {len(slots)} slots once each")


def _add(total: dict[str, int], key: str, amount: int) -> None:
    total[key] = total.get(key, 0) + amount


def _amounts(total: dict[str, int]) -> Amounts:
    return tuple(sorted(total.items()))
