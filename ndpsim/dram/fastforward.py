"""Exact fast-forward of a regular stream.

The stream is cut where every `CHUNK`-th transaction is taken into the queue. Seen from there, the
controller's state (queue, open rows, waits, place in the pattern) is one of few, and what happens
until the next cut depends on it alone, or on it and the distance to the refresh if that comes
first. Each such step is simulated once. Steps without refresh form chains that come back to their
start; a chain and the refresh that ends it form an interval; intervals come back to their start as
well, and from then on the stream's past is all there is to know of its future.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np

from ndpsim.dram import kernel
from ndpsim.dram.device import Device
from ndpsim.dram.kernel import Ints, Tables
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import Deadlock

CHUNK: Final = 64
"""Transactions between two cuts."""
MAX_STEPS: Final = 1 << 16
"""Remembered steps of one stream table; beyond, all are forgotten and learned again."""
MAX_CHAIN: Final = 1 << 12
"""Steps after which a chain that has not come back is cut."""
MAX_HELD: Final = 1 << 23
"""Transactions whose arrival is remembered; beyond, all intervals are forgotten."""
COUNT_BITS: Final = 48
"""Bits per command in a packed set of counts."""
NOTHING: Final = np.zeros(0, dtype=np.int64)

Key = tuple[int, int]
"""State and cycles to the next refresh."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What happens between two cuts, relative to the first."""

    cycles: int
    state: int
    """Number of the state at the second cut; -1 if the stream is complete."""
    refresh_in: int
    """Cycles from the second cut to the next refresh; only of a step with a refresh."""
    served: Ints
    """Cycles by which all transactions up to one had arrived, for each from the first that was not
    served at the first cut to the last before the first that is not served at the second."""
    counts: int
    """Packed counts of commands."""


class _Run:
    """Steps in a row: when they begin, what they serve; the last `n_cycle` may repeat for ever."""

    def __init__(self) -> None:
        self.cycles = [0]
        """Cycles before each step and after the last."""
        self.counts = [0]
        """Packed counts likewise."""
        self.served = [0]
        """Transactions served likewise."""
        self.taken = [0]
        """Transactions taken likewise."""
        self.n_cycle = 0
        self._arrivals: list[Ints] = []
        self._joined: Ints | None = None

    def add(self, cycles: int, counts: int, taken: int, arrivals: Ints) -> None:
        """One step more; `arrivals` counts from its start."""
        self._arrivals.append(arrivals + self.cycles[-1])
        self._joined = None
        self.cycles.append(self.cycles[-1] + cycles)
        self.counts.append(self.counts[-1] + counts)
        self.taken.append(self.taken[-1] + taken)
        self.served.append(self.served[-1] + len(arrivals))

    def __len__(self) -> int:
        return len(self.cycles) - 1

    @property
    def arrivals(self) -> Ints:
        """When each transaction of all steps, and those before it, had arrived."""
        if self._joined is None:
            self._joined = np.concatenate([NOTHING, *self._arrivals])
            self._arrivals = [self._joined]
        return self._joined

    def _fold(self, index: int) -> tuple[int, int]:
        """Whole repeats in the first `index` steps, and the place of the rest among the steps."""
        first = len(self) - self.n_cycle
        if index <= len(self) or not self.n_cycle:
            return 0, index
        turns, place = divmod(index - first, self.n_cycle)
        return turns, first + place

    def at(self, index: int, sums: list[int]) -> int:
        """One of the sums (cycles, counts, served, taken) after `index` steps."""
        turns, place = self._fold(index)
        return sums[place] + turns * (sums[-1] - sums[-1 - self.n_cycle] if turns else 0)

    def place(self, index: int) -> int:
        """The step among those held that stands for the one after `index` steps."""
        turns, place = self._fold(index)
        return place if turns or index < len(self) or not self.n_cycle else len(self) - self.n_cycle

    def fitting(self, limit: int, sums: list[int]) -> int:
        """The greatest number of steps whose sum is at most `limit`."""
        if limit < sums[-1] or not self.n_cycle:
            return bisect_right(sums, limit) - 1
        first = len(self) - self.n_cycle
        turns, left = divmod(limit - sums[first], sums[-1] - sums[first])
        rest = bisect_right(sums, sums[first] + left, lo=first) - 1 - first
        return first + turns * self.n_cycle + rest

    def arrival(self, places: Ints) -> Ints:
        """When transactions, counted from the first served, had arrived with all before them."""
        arrivals, n_held = self.arrivals, self.served[-1]
        if not self.n_cycle or not len(places) or int(places[-1]) < n_held:
            return arrivals[places]
        first = self.served[-1 - self.n_cycle]
        turns = np.maximum(places - first, 0) // (n_held - first)
        per_turn = self.cycles[-1] - self.cycles[-1 - self.n_cycle]
        found: Ints = arrivals[places - turns * (n_held - first)] + turns * per_turn
        return found

    def between(self, first: int, n_steps: int) -> Ints:
        """Arrivals of all that `n_steps` steps from the `first` on serve, from its start on."""
        begin = self.served[first]
        n_served = self.at(first + n_steps, self.served) - begin
        held = self.arrivals[begin : begin + n_served]
        if len(held) < n_served:
            again = self.served[-1 - self.n_cycle]
            turn = self.arrivals[again:]
            n_turns = -(-(n_served - len(held)) // len(turn))
            per_turn = self.cycles[-1] - self.cycles[-1 - self.n_cycle]
            turns = np.add.outer(np.arange(1, n_turns + 1) * per_turn, turn).ravel()
            held = np.concatenate([held, turns[: n_served - len(held)]])
        return held - self.cycles[first]


class _Loop(_Run):
    """Steps without refresh that lead back to their start."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[int] = []
        """At the start of each step."""


@dataclass(slots=True)
class _Chain:
    """Steps without refresh from a state on: some of its own, then those of a loop for ever."""

    own: _Run
    states: list[int]
    """At the start of each own step and after the last."""
    loop: _Loop | None = None
    """None if it is too long to be found."""
    entry: int = 0
    """The loop's step that follows."""

    def fitting(self, limit: int) -> int:
        """The greatest number of steps that take at most `limit` cycles."""
        left = limit - self.own.cycles[-1]
        if left < 0 or self.loop is None:
            return self.own.fitting(limit, self.own.cycles)
        cycles = self.loop.cycles
        return len(self.own) + self.loop.fitting(left + cycles[self.entry], cycles) - self.entry

    def sums(self, n_steps: int) -> tuple[int, int, int, int]:
        """Of the first steps: cycles, packed counts, transactions served; and the state after."""
        own, loop = self.own, self.loop
        n_own = min(n_steps, len(own))
        cycles, counts, served = own.cycles[n_own], own.counts[n_own], own.served[n_own]
        if n_steps <= len(own) or loop is None:
            return cycles, counts, served, self.states[n_own]
        end = self.entry + n_steps - n_own
        return (
            cycles + loop.at(end, loop.cycles) - loop.cycles[self.entry],
            counts + loop.at(end, loop.counts) - loop.counts[self.entry],
            served + loop.at(end, loop.served) - loop.served[self.entry],
            loop.states[end % len(loop)],
        )

    def first(self, n_steps: int) -> Ints:
        """Arrivals of all that the first `n_steps` steps serve."""
        n_own = min(n_steps, len(self.own))
        arrivals = self.own.between(0, n_own)
        if n_own == n_steps or self.loop is None:
            return arrivals
        later = self.loop.between(self.entry, n_steps - n_own) + self.own.cycles[-1]
        return np.concatenate([arrivals, later])

    def arrival(self, places: Ints) -> Ints:
        """See `_Run.arrival`."""
        cut = int(np.searchsorted(places, self.own.served[-1]))
        if self.loop is None or cut == len(places):
            return self.own.arrival(places)
        loop, entry = self.loop, self.entry
        later = loop.arrival(places[cut:] - self.own.served[-1] + loop.served[entry])
        later += self.own.cycles[-1] - loop.cycles[entry]
        return np.concatenate([self.own.arrival(places[:cut]), later])


class _Intervals(_Run):
    """Intervals between refreshes that follow one another, from one start."""

    def __init__(self, start: Key) -> None:
        super().__init__()
        self.keys = [start]
        """At the start of each interval and after the last."""
        self.seen = {start: 0}


class _Tail:
    """Parts of chains and single steps that follow one another."""

    def __init__(self) -> None:
        self.counts = 0
        self._cycles = 0
        self._parts: list[_Chain | Ints] = []
        self._begins: list[int] = []
        self._served = [0]

    def add_chain(self, chain: _Chain, n_steps: int) -> None:
        """The first steps of a chain."""
        cycles, counts, n_served, _ = chain.sums(n_steps)
        self._add(chain, n_served, cycles)
        self.counts += counts

    def add_step(self, step: _Step) -> None:
        """One step."""
        self._add(step.served, len(step.served), step.cycles)
        self.counts += step.counts

    def _add(self, part: _Chain | Ints, n_served: int, cycles: int) -> None:
        self._parts.append(part)
        self._begins.append(self._cycles)
        self._served.append(self._served[-1] + n_served)
        self._cycles += cycles

    def arrival(self, places: Ints) -> Ints:
        """See `_Run.arrival`."""
        cuts = np.searchsorted(places, self._served)
        found = [NOTHING]
        for part, begin, served, low, high in zip(
            self._parts, self._begins, self._served, cuts[:-1], cuts[1:], strict=False
        ):
            own = places[low:high] - served
            found.append((part.arrival(own) if isinstance(part, _Chain) else part[own]) + begin)
        return np.concatenate(found)


@dataclass(frozen=True, slots=True)
class Served:
    """What came of a stream."""

    arrivals: Ints
    """Cycle by which each marked transaction, and all before it, had arrived."""
    counts: int
    """Packed counts of commands."""


class StreamTable:
    """The steps of streams of one shape on one device, learned as streams ask for them."""

    def __init__(self, dram: DramSpec, pattern: Ints, period: tuple[int, int]) -> None:
        """`pattern` repeats, each time `period` = (rows, lines) further; see `build_tables`."""
        self._tables: Tables = kernel.build_tables(dram, pattern, period)
        self.device: Device = self._tables.device
        self._latest = np.where(pattern[3] == 1, 0, self.device.read_latency)
        self._has_writes = bool(pattern[3].any())
        self._names = [command.name for command in self.device.commands]
        self._forget()

    def _forget(self) -> None:
        self._states: list[Ints] = []
        self._late: list[tuple[tuple[int, int], ...]] = []
        self._numbers: dict[tuple[bytes, tuple[tuple[int, int], ...]], int] = {}
        self._chains: dict[int, _Chain] = {}
        self._loops: dict[int, tuple[_Loop, int]] = {}
        self._intervals: dict[Key, _Intervals] = {}
        self._steps: dict[tuple[int, int, int], _Step] = {}
        self._default_start: tuple[int, int] | None = None

    def start(self, state: Ints | None = None) -> tuple[int, int]:
        """Number of a start state, and the packed counts of what it has issued already.

        Without one, all banks are precharged just before the first cycle.
        """
        if state is not None:
            return self._number(state, ()), self._packed(state)
        if self._default_start is None:
            state = self._tables.start()
            self._tables.charge_precharge(state, kernel.NO_LOG)
            self._default_start = self.start(state)
        return self._default_start

    def commands(self, counts: int) -> tuple[tuple[str, int], ...]:
        """Unpacked counts."""
        mask = (1 << COUNT_BITS) - 1
        return tuple(
            (name, counts >> COUNT_BITS * place & mask) for place, name in enumerate(self._names)
        )

    def serve(
        self, n_lines: int, first_refresh: int, marks: Ints, state: Ints | None = None
    ) -> Served:
        """Serves a stream from a start state; see `start`.

        `marks` are numbers of transactions in ascending order, `first_refresh` is the cycle of the
        first refresh; 0 if none are sent.
        """
        if len(self._steps) > MAX_STEPS:
            self._forget()
        number, counts = self.start(state)
        intervals = self._follow_intervals((number, first_refresh or kernel.FAR), n_lines)
        n_whole = intervals.fitting(n_lines, intervals.taken)
        n_served = intervals.at(n_whole, intervals.served)
        cut = int(np.searchsorted(marks, n_served))
        early = intervals.arrival(marks[:cut])
        cycle = intervals.at(n_whole, intervals.cycles)
        counts += intervals.at(n_whole, intervals.counts)
        taken = intervals.at(n_whole, intervals.taken)
        tail = self._tail(intervals.keys[intervals.place(n_whole)], n_lines - taken)
        late = tail.arrival(marks[cut:] - n_served) + cycle
        return Served(np.concatenate([early, late]), counts + tail.counts)

    def _tail(self, key: Key, n_lines: int) -> "_Tail":
        """The rest of a stream that is shorter than an interval."""
        tail = _Tail()
        state, refresh_in = key
        while n_lines >= CHUNK:
            chain = self._chain(state)
            n_steps = min(n_lines // CHUNK, chain.fitting(refresh_in - 1))
            if n_steps:
                tail.add_chain(chain, n_steps)
                cycles, _, _, state = chain.sums(n_steps)
                refresh_in -= cycles
                n_lines -= n_steps * CHUNK
            else:
                step = self._step(state, CHUNK, refresh_in)
                tail.add_step(step)
                state, refresh_in = step.state, step.refresh_in
                n_lines -= CHUNK
        last = self._step(state, -n_lines - 1, kernel.FAR)
        if last.cycles >= refresh_in:
            last = self._step(state, -n_lines - 1, refresh_in)
        tail.add_step(last)
        return tail

    def _follow_intervals(self, start: Key, n_lines: int) -> _Intervals:
        """Intervals from a start on, for at least `n_lines` transactions or until they repeat."""
        intervals = self._intervals.get(start)
        if intervals is None:
            if sum(known.served[-1] for known in self._intervals.values()) > MAX_HELD:
                self._intervals.clear()
            intervals = self._intervals[start] = _Intervals(start)
        while intervals.taken[-1] <= n_lines and not intervals.n_cycle:
            state, refresh_in = intervals.keys[-1]
            if refresh_in >= kernel.FAR // 2 or intervals.taken[-1] + CHUNK > n_lines:
                # without refreshes a chain says it all
                break
            chain = self._chain(state)
            n_steps = chain.fitting(refresh_in - 1)
            if (n_steps + 1) * CHUNK + intervals.taken[-1] > n_lines:
                break
            cycles, counts, _, state = chain.sums(n_steps)
            step = self._step(state, CHUNK, refresh_in - cycles)
            intervals.add(
                cycles + step.cycles,
                counts + step.counts,
                (n_steps + 1) * CHUNK,
                np.concatenate([chain.first(n_steps), step.served + cycles]),
            )
            key = step.state, step.refresh_in
            intervals.keys.append(key)
            intervals.n_cycle = len(intervals) - intervals.seen.setdefault(key, len(intervals))
        return intervals

    def _chain(self, state: int) -> _Chain:
        """Free steps from a state until one leads to a loop, or back to a state seen before."""
        chain = self._chains.get(state)
        if chain is not None:
            return chain
        steps: list[_Step] = []
        states = [state]
        seen = {state: 0}
        limit, cycles = self.device.refresh_interval or kernel.FAR, 0
        while state not in self._loops and cycles < limit and len(steps) < MAX_CHAIN:
            step = self._step(state, CHUNK, kernel.FAR)
            steps.append(step)
            cycles += step.cycles
            state = step.state
            if state in seen:
                self._add_loop(states[seen[state] :], steps[seen[state] :])
                steps = steps[: seen[state]]
                break
            seen[state] = len(steps)
            states.append(state)
        chain = self._chains[states[0]] = _Chain(_Run(), states[: len(steps) + 1])
        for step in steps:
            chain.own.add(step.cycles, step.counts, CHUNK, step.served)
        if state in self._loops:
            chain.loop, chain.entry = self._loops[state]
        return chain

    def _add_loop(self, states: list[int], steps: list[_Step]) -> None:
        loop = _Loop()
        for place, (state, step) in enumerate(zip(states, steps, strict=True)):
            loop.states.append(state)
            loop.add(step.cycles, step.counts, CHUNK, step.served)
            self._loops[state] = loop, place
        loop.n_cycle = len(loop)

    def _step(self, state: int, n_lines: int, refresh_in: int) -> _Step:
        """From a state until `n_lines` more are taken; -n - 1: n are taken and all are complete."""
        key = state, n_lines, refresh_in
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = self._simulate(*key)
        return step

    def _simulate(self, number: int, n_lines: int, refresh_in: int) -> _Step:
        state, config = self._states[number].copy(), self._tables.config
        start, taken = int(state[kernel.TICK]), int(state[kernel.OFFERED])
        first = int(kernel.first_unserved(config, state))
        n_taken = n_lines if n_lines >= 0 else -n_lines - 1
        until, total = (taken + n_taken, kernel.FAR) if n_lines >= 0 else (-1, taken + n_taken)
        state[kernel.NEXT_REFRESH] = start + refresh_in
        done = np.zeros(taken + n_taken - first, dtype=np.int64)
        for place, cycle in self._late[number]:
            done[place] = cycle
        pattern = self._tables.pattern
        outcome = kernel.advance(config, pattern, state, until, total, done, first, kernel.NO_LOG)
        if outcome == kernel.STUCK:
            raise Deadlock("dram stream", "no command can be issued any more")
        unserved = int(kernel.first_unserved(config, state))
        n_served = unserved - first
        complete = outcome == kernel.COMPLETE
        late = () if complete else self._late_of(state, done[n_served:], unserved)
        served = np.maximum.accumulate(done[:n_served]) if n_served else NOTHING
        tick = int(state[kernel.TICK])
        return _Step(
            cycles=tick - start,
            state=-1 if complete else self._number(state, late),
            refresh_in=int(state[kernel.NEXT_REFRESH]) - tick,
            served=served - start,
            counts=self._packed(state),
        )

    def _late_of(self, state: Ints, done: Ints, unserved: int) -> tuple[tuple[int, int], ...]:
        """Transactions that were served before an older one but may arrive after it.

        Only a read can be overtaken so, by a write.
        """
        if not self._has_writes:
            return ()
        period = self._tables.pattern.shape[1]
        now = int(state[kernel.TICK])
        earliest = now + 1 + int(self._latest[unserved % period])
        base = now - now % int(self._tables.config[kernel.TICKS_PER_CLOCK])
        places = np.flatnonzero(done > earliest)
        return tuple((int(place), int(done[place]) - base) for place in places)

    def _number(self, state: Ints, late: tuple[tuple[int, int], ...]) -> int:
        """The number of a state as seen from now."""
        seen = np.empty_like(state)
        kernel.canonical(self._tables.config, state, seen)
        key = seen.tobytes(), late
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append(seen)
            self._late.append(late)
        return number

    def _packed(self, state: Ints) -> int:
        counts = state[kernel.COUNTS : kernel.COUNTS + len(self._names)].tolist()
        return sum(count << COUNT_BITS * place for place, count in enumerate(counts))
