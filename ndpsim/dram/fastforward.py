"""Exact fast-forward of a regular stream.

The stream is cut where every `CHUNK`-th transaction is taken into the queue. Seen from there, the
controller's state (queue, open rows, waits, place in the bank pattern) is one of few, and what
happens until the next cut depends on it alone, or on it and the distance to the refresh if that
comes first. Each such step is simulated once; a chain of steps that comes back to its start is
jumped over.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ndpsim.dram import kernel
from ndpsim.dram.device import Device, resolve
from ndpsim.dram.kernel import Ints, Tables
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import Deadlock

CHUNK: Final = 64
"""Transactions between two cuts."""
MAX_STEPS: Final = 1 << 16
"""Remembered steps of one device; beyond, all are forgotten and learned again."""
MAX_CHAIN: Final = 1 << 12
"""Steps after which a chain that has not come back is cut."""
COUNT_BITS: Final = 48
"""Bits per command in a packed set of counts."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What happens between two cuts, relative to the first."""

    cycles: int
    state: int
    """Number of the state at the second cut; -1 if the stream is complete."""
    refresh_in: int
    """Cycles from the second cut to the next refresh; only of a step with a refresh."""
    served_from: int
    """The first transaction not yet served at the first cut, counted from those taken there."""
    served: tuple[int, ...]
    """Cycle by which it and each further one that was served before the second cut had arrived."""
    counts: int
    """Packed counts of commands."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """Steps without refresh that follow one another; the last `n_cycle` repeat for ever."""

    steps: tuple[_Step, ...]
    cycles: tuple[int, ...]
    """Cycles before each step and after the last."""
    counts: tuple[int, ...]
    """Packed counts before each step and after the last."""
    n_cycle: int

    def fitting(self, limit: int) -> int:
        """The greatest number of steps that take less than `limit` cycles."""
        n_steps = len(self.steps)
        if limit <= self.cycles[-1] or not self.n_cycle:
            return bisect_left(self.cycles, limit) - 1
        per_cycle = self.cycles[-1] - self.cycles[n_steps - self.n_cycle]
        turns, left = divmod(limit - 1 - self.cycles[-1], per_cycle)
        first = n_steps - self.n_cycle
        rest = bisect_left(self.cycles, self.cycles[first] + left + 1, lo=first) - 1 - first
        return n_steps + turns * self.n_cycle + rest

    def before(self, n_steps: int) -> tuple[int, int]:
        """Cycles and packed counts of the first `n_steps` steps."""
        turns, place = self._place(n_steps)
        if not turns:
            return self.cycles[place], self.counts[place]
        first = len(self.steps) - self.n_cycle
        return (
            self.cycles[place] + turns * (self.cycles[-1] - self.cycles[first]),
            self.counts[place] + turns * (self.counts[-1] - self.counts[first]),
        )

    def step(self, index: int) -> _Step:
        """The step after `index` steps."""
        return self.steps[self._place(index)[1]]

    def _place(self, index: int) -> tuple[int, int]:
        n_steps = len(self.steps)
        if index < n_steps or not self.n_cycle:
            return 0, index
        turns, place = divmod(index - (n_steps - self.n_cycle), self.n_cycle)
        return turns, n_steps - self.n_cycle + place


class StreamTable:
    """The steps of sequential streams on one device, learned as streams ask for them."""

    def __init__(self, dram: DramSpec) -> None:
        device = resolve(dram)
        mapping = dram.mapping()
        period, rows, self.run_lines = mapping.regular
        lines = np.arange(period, dtype=np.int64)
        bank, row, _ = mapping.locate_all(lines)
        pattern = np.stack([bank, row, lines, np.zeros_like(lines)])
        self.device: Device = device
        self._tables: Tables = kernel.build_tables(dram, pattern, (rows, period))
        self._chunk = min(CHUNK, period)
        self._names = [command.name for command in device.commands]
        self._forget()

    def _forget(self) -> None:
        self._states: list[Ints] = []
        self._numbers: dict[bytes, int] = {}
        self._chains: dict[int, _Chain] = {}
        self._steps: dict[tuple[int, int, int], _Step] = {}
        start = self._tables.start()
        self._tables.charge_precharge(start, kernel.NO_LOG)
        self._start_counts = self._packed(start)
        self._start = self._number(start)

    def commands(self, counts: int) -> tuple[tuple[str, int], ...]:
        """Unpacked counts."""
        mask = (1 << COUNT_BITS) - 1
        return tuple(
            (name, counts >> COUNT_BITS * place & mask) for place, name in enumerate(self._names)
        )

    def serve(self, n_lines: int, first_refresh: int, marks: list[int]) -> "Walk":
        """Serves a stream; `marks` are transaction numbers in ascending order.

        `first_refresh` is the cycle of the first refresh; 0 if none are sent.
        """
        if len(self._steps) > MAX_STEPS:
            self._forget()
        walk = Walk(self._start, first_refresh or kernel.FAR, self._start_counts, marks)
        while n_lines - walk.taken >= self._chunk:
            chain = self._chain(walk.state)
            n_steps = min((n_lines - walk.taken) // self._chunk, chain.fitting(walk.refresh_in))
            if n_steps:
                walk.jump(chain, n_steps, self._chunk)
            else:
                walk.add(self._step(walk.state, self._chunk, walk.refresh_in), self._chunk)
        left = n_lines - walk.taken
        last = self._step(walk.state, -left - 1, kernel.FAR)
        if last.cycles >= walk.refresh_in:
            last = self._step(walk.state, -left - 1, walk.refresh_in)
        walk.add(last, left)
        return walk

    def _chain(self, state: int) -> _Chain:
        chain = self._chains.get(state)
        if chain is None:
            chain = self._chains[state] = self._follow(state)
        return chain

    def _follow(self, state: int) -> _Chain:
        """Free steps until one leads back to a state seen before."""
        seen: dict[int, int] = {}
        steps: list[_Step] = []
        cycles, counts = [0], [0]
        limit = self.device.refresh_interval or kernel.FAR
        while state not in seen and cycles[-1] < limit and len(steps) < MAX_CHAIN:
            seen[state] = len(steps)
            step = self._step(state, self._chunk, kernel.FAR)
            steps.append(step)
            cycles.append(cycles[-1] + step.cycles)
            counts.append(counts[-1] + step.counts)
            state = step.state
        n_cycle = len(steps) - seen[state] if state in seen else 0
        return _Chain(tuple(steps), tuple(cycles), tuple(counts), n_cycle)

    def _step(self, state: int, n_lines: int, refresh_in: int) -> _Step:
        """From a state until `n_lines` more are taken; -n - 1: n are taken and all are complete."""
        key = state, n_lines, refresh_in
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = self._simulate(*key)
        return step

    def _simulate(self, number: int, n_lines: int, refresh_in: int) -> _Step:
        state = self._states[number].copy()
        taken = int(state[kernel.OFFERED])
        first = int(kernel.first_unserved(self._tables.config, state))
        n_taken = n_lines if n_lines >= 0 else -n_lines - 1
        until, total = (taken + n_taken, kernel.FAR) if n_lines >= 0 else (-1, taken + n_taken)
        start = int(state[kernel.TICK])
        state[kernel.NEXT_REFRESH] = start + refresh_in
        done = np.zeros(taken + n_taken - first, dtype=np.int64)
        config, pattern = self._tables.config, self._tables.pattern
        outcome = kernel.advance(config, pattern, state, until, total, done, first, kernel.NO_LOG)
        if outcome == kernel.STUCK:
            raise Deadlock("dram stream", "no command can be issued any more")
        n_served = int(kernel.first_unserved(self._tables.config, state)) - first
        complete = outcome == kernel.COMPLETE
        tick = int(state[kernel.TICK])
        return _Step(
            cycles=tick - start,
            state=-1 if complete else self._number(state),
            refresh_in=int(state[kernel.NEXT_REFRESH]) - tick,
            served_from=first - taken,
            served=tuple((np.maximum.accumulate(done[:n_served]) - start).tolist()),
            counts=self._packed(state),
        )

    def _number(self, state: Ints) -> int:
        """The number of a state as seen from now."""
        tables = self._tables
        seen = np.empty_like(state)
        kernel.canonical(tables.config, state, seen)
        key = seen.tobytes()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append(seen)
        return number

    def _packed(self, state: Ints) -> int:
        counts = state[kernel.COUNTS : kernel.COUNTS + len(self._names)].tolist()
        return sum(count << COUNT_BITS * place for place, count in enumerate(counts))


@dataclass(slots=True)
class Walk:
    """How far a stream has come."""

    state: int
    refresh_in: int
    counts: int
    waiting: list[int]
    """Transactions whose completion is asked for, ascending."""
    taken: int = 0
    cycle: int = 0
    found: list[int] = field(default_factory=list)
    """Completion cycles of the first of `waiting`."""

    def add(self, step: _Step, n_lines: int) -> None:
        """One step, which may hold a refresh."""
        self._find(step, self.taken, self.cycle)
        self._move(step.state, n_lines, step.cycles, step.counts)
        self.refresh_in = step.refresh_in

    def jump(self, chain: _Chain, n_steps: int, chunk: int) -> None:
        """Steps of a chain before any refresh."""
        while len(self.found) < len(self.waiting):
            line = self.waiting[len(self.found)]
            index = max(line - self.taken, 0) // chunk
            while index < n_steps:
                step = chain.step(index)
                before = self.taken + index * chunk
                if line < before + step.served_from + len(step.served):
                    self._find(step, before, self.cycle + chain.before(index)[0])
                    break
                index += 1
            else:
                break
        cycles, counts = chain.before(n_steps)
        self._move(chain.step(n_steps - 1).state, n_steps * chunk, cycles, counts)
        self.refresh_in -= cycles

    def _find(self, step: _Step, taken: int, cycle: int) -> None:
        """Answers the marks a step serves."""
        first = taken + step.served_from
        n_found = len(self.found)
        while n_found < len(self.waiting):
            place = self.waiting[n_found] - first
            if place >= len(step.served):
                return
            self.found.append(cycle + step.served[place])
            n_found += 1

    def _move(self, state: int, n_lines: int, cycles: int, counts: int) -> None:
        self.state = state
        self.taken += n_lines
        self.cycle += cycles
        self.counts += counts
