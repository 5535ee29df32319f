"""The controller as its rules are told: the definition that the fast kernel must reproduce.

Tick by tick, one command per command bus and tick at most. First come first served among what the
timing allows (FR-FCFS by readiness: a row hit has no preference of its own), open rows, all-bank
refresh.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ndpsim.dram.device import Device, resolve
from ndpsim.dram.mapping import Location
from ndpsim.dram.spec import DramSpec


@dataclass(frozen=True, slots=True)
class Issued:
    """One command of the log."""

    tick: int
    command: str
    bank: int
    """Flat bank index; the first bank in scope for a command to more than one bank."""
    row: int
    """-1 for a command to more than one bank."""
    column: int
    """In transactions; -1 for a command to more than one bank."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run came to."""

    cycles: int
    """Ticks until the last transaction was complete."""
    completed: tuple[int, ...]
    """Per transaction, the tick in which its data had arrived (a write: was sent)."""
    row_hits: int
    row_misses: int
    row_conflicts: int
    counts: dict[str, int]
    """Command -> how often it was issued."""
    log: tuple[Issued, ...]


class Timing:
    """Which command may be issued when, straight from the constraint table."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._command = {command.name: command for command in device.commands}
        self._free = [0] * device.n_buses
        self._rules = {
            command.name: [
                (number, rule)
                for number, rule in enumerate(device.rules)
                if command.name in rule.following
            ]
            for command in device.commands
        }
        self._starts = {
            command.name: [
                (number, rule)
                for number, rule in enumerate(device.rules)
                if command.name in rule.preceding
            ]
            for command in device.commands
        }
        self._issued: dict[tuple[int, int], deque[int]] = {}

    def earliest(self, command: str, bank: int) -> int | None:
        """The first tick at which no wait is left for a command; None if there never was one."""
        path = self._device.paths[bank]
        waits = []
        for number, rule in self._rules[command]:
            for index in self._objects(rule.depth, path, sibling=rule.sibling):
                ticks = self._issued.get((number, index))
                if ticks is not None and len(ticks) == rule.window:
                    waits.append(ticks[0] + rule.latency)
        return max(waits, default=None)

    def ready(self, command: str, bank: int, tick: int) -> bool:
        """Whether a command may be issued in a tick: its bus is free, no wait is left."""
        own = self._command[command]
        if tick < self._free[own.bus] or (own.rising and tick % 2 == 0):
            return False
        earliest = self.earliest(command, bank)
        return earliest is None or tick >= earliest

    def issue(self, command: str, bank: int, tick: int) -> None:
        """Occupies the bus and starts every wait that a command causes."""
        own = self._command[command]
        self._free[own.bus] = tick + own.ticks
        for number, rule in self._starts[command]:
            key = number, self._device.paths[bank][rule.depth]
            self._issued.setdefault(key, deque(maxlen=rule.window)).append(tick)

    def _objects(self, depth: int, path: tuple[int, ...], *, sibling: bool) -> Iterator[int]:
        """The objects whose commands a rule looks at: the own one, or the others beside it."""
        own = path[depth]
        if not sibling:
            yield own
            return
        n_beside = self._device.counts[depth]
        first = own // n_beside * n_beside
        yield from (index for index in range(first, first + n_beside) if index != own)


@dataclass(slots=True)
class Request:
    """One transaction on its way."""

    number: int
    line: int
    is_write: bool
    where: Location
    arrival: int
    classified: bool = False


@dataclass(frozen=True, slots=True)
class _HalfOpen:
    """An activation whose second command is still to come."""

    where: Location
    deadline: int


@dataclass(slots=True)
class _Tally:
    hits: int = 0
    misses: int = 0
    conflicts: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Controller:
    """One channel's controller and banks."""

    def __init__(self, dram: DramSpec, *, first_refresh: int | None = None) -> None:
        """`first_refresh` is the tick of the first refresh; one full interval if not given."""
        self.device = device = resolve(dram)
        self.timing = Timing(device)
        self.tick = 0
        self._mapping = dram.mapping()
        self._open: list[int | None] = [None] * device.n_banks
        self._last_used = [0] * device.n_banks
        self._reads: list[Request] = []
        self._writes: list[Request] = []
        self._active: list[Request] = []
        self._priority: deque[int] = deque()
        self._write_mode = False
        self._in_flight: list[tuple[int, int]] = []
        self._next_refresh = first_refresh or device.refresh_interval
        bank = device.bank_depth
        self._ACT, self._PRE = device.named("activate"), device.named("precharge", bank)
        self._RD, self._WR = device.named("read"), device.named("write")
        self._REF = device.named("refresh")
        self._PREall = device.named("precharge", device.refresh_depth)
        self._bus = {command.name: command.bus for command in device.commands}
        self._half_open: _HalfOpen | None = None
        self._synced: tuple[Request, list[Request]] | None = None
        self._clock_stops = [0] * device.n_objects(max(device.data_clock_depth, 0))
        self._tally = _Tally()
        self._log: list[Issued] = []
        self.completed: dict[int, int] = {}

    def charge_precharge(self) -> None:
        """Precharges everything just before tick 1; whoever activates first waits for tRP."""
        for bank, tick in self.device.charged_precharges:
            self._send(self._PREall, bank, tick=tick)

    def offer(self, number: int, line: int, *, is_write: bool) -> bool:
        """Takes a transaction into its queue; False if the queue is full."""
        if any(write.line == line for write in self._writes):
            # forwarded from the waiting write, or merged with it
            self._in_flight.append((number, self.tick + 1))
            return True
        queue, size = (
            (self._writes, self.device.write_queue)
            if is_write
            else (self._reads, self.device.read_queue)
        )
        if len(queue) >= size:
            return False
        where = self._mapping.locate(line)
        queue.append(Request(number, line, is_write, where, self.tick))
        return True

    def step(self) -> None:
        """One tick: complete, notice refreshes, issue at most one command per bus."""
        self.tick += 1
        self._complete()
        if self.device.refresh_interval and self.tick == self._next_refresh:
            self._priority.extend(range(self.device.n_objects(self.device.refresh_depth)))
            self._next_refresh += self.device.refresh_interval
        for bus in range(self.device.n_buses):
            if not self._urgent():
                self._use(bus)

    def _urgent(self) -> bool:
        """What admits nothing else: a request whose data clock was started, an overdue ACT2."""
        if self._synced is not None:
            request, queue = self._synced
            if self._is_ready(request):
                self._advance(request, queue)
                self._synced = None
            return True
        if self._half_open is not None and self.tick >= self._half_open.deadline:
            self._finish_activation()
            return True
        return False

    def _use(self, bus: int) -> None:
        """The next command of a bus: active requests, refreshes, waiting requests, in this order.

        A waiting refresh lets no other request start.
        """
        if self._serve(self._active, bus):
            return
        if self._priority and self._must_refresh():
            done = self._refresh(bus)
        else:
            done = self._serve(self._queue_of_mode(), bus)
        if not done and self._half_open is not None:
            self._finish_activation()
        elif not done and self.device.close_after >= 0 and self._bus[self._PRE] == bus:
            self._close_idle()

    def _must_refresh(self) -> bool:
        """Whether a refresh may not be put off any longer, or no request would mind it."""
        allowed = self.device.postponed * self.device.n_objects(self.device.refresh_depth)
        return len(self._priority) > allowed or not (self._reads or self._writes or self._active)

    def _close_idle(self) -> None:
        """Closes the first row that no request wants, long enough after its last use."""
        wanted = {
            (request.where.bank, request.where.row)
            for queue in (self._reads, self._writes, self._active)
            for request in queue
        }
        for bank, row in enumerate(self._open):
            if (
                row is not None
                and (bank, row) not in wanted
                and not any(active.where.bank == bank for active in self._active)
                and self.tick >= self._last_used[bank] + self.device.close_after
                and self.timing.ready(self._PRE, bank, self.tick)
            ):
                self._send(self._PRE, bank, row, -1)
                return

    def result(self) -> Run:
        """What has happened so far."""
        tally = self._tally
        completed = tuple(self.completed[number] for number in sorted(self.completed))
        return Run(
            self.tick, completed, tally.hits, tally.misses, tally.conflicts, tally.counts,
            tuple(self._log),
        )  # fmt: skip

    def _complete(self) -> None:
        arrived = [entry for entry in self._in_flight if entry[1] <= self.tick]
        if arrived:
            self.completed.update(arrived)
            self._in_flight = [entry for entry in self._in_flight if entry[1] > self.tick]

    def _queue_of_mode(self) -> list[Request]:
        n_reads, n_writes = len(self._reads), len(self._writes)
        if not self._write_mode:
            self._write_mode = n_writes > self.device.write_high or n_reads == 0
        elif n_writes < self.device.write_low and n_reads > 0:
            self._write_mode = False
        return self._writes if self._write_mode else self._reads

    def _serve(self, queue: list[Request], bus: int) -> bool:
        """Issues the next command of the first arrived of a queue's requests ready on a bus."""
        ready = [
            request
            for request in (queue[:1] if self.device.in_order else queue)
            if self._bus[self._next_command(request)] == bus and self._is_ready(request)
        ]
        ready = [request for request in ready if self._may_close(request, queue)]
        if not ready:
            return False
        request = min(ready, key=lambda request: request.arrival)
        if not self._start_data_clock(request, queue):
            self._advance(request, queue)
        return True

    def _advance(self, request: Request, queue: list[Request]) -> None:
        """Issues the next command of a request."""
        command = self._next_command(request)
        self._classify(request, command)
        self._send(command, request.where.bank, request.where.row, request.where.column)
        if command == self._ACT:
            queue.remove(request)
            self._active.append(request)
            if self.device.activate_within:
                deadline = self.tick + self.device.activate_within
                self._half_open = _HalfOpen(request.where, deadline)
        elif command in (self._RD, self._WR):
            queue.remove(request)
            self._retire(request)

    def _may_close(self, request: Request, queue: list[Request]) -> bool:
        """Whether a row may be closed for a request, although others of its queue may hit it."""
        if not self.device.keep_hits or self._next_command(request) != self._PRE:
            return True
        return not any(
            other.where.bank == request.where.bank
            and other.where.row == self._open[request.where.bank]
            and other.arrival <= request.arrival
            for other in queue
        )

    def _finish_activation(self) -> None:
        """Sends the second half of an activation."""
        assert self._half_open is not None
        where = self._half_open.where
        command = self.device.named("activate-again")
        if self.timing.ready(command, where.bank, self.tick):
            self._send(command, where.bank, where.row, where.column)
            self._half_open = None

    def _start_data_clock(self, request: Request, queue: list[Request]) -> bool:
        """Starts the data clock instead of the read or write that needs it, if it has stopped.

        If an ACT2 would be overdue when the read or write goes out, it goes out instead.
        """
        command, depth = self._next_command(request), self.device.data_clock_depth
        if command not in (self._RD, self._WR) or depth < 0:
            return False
        own = self.device.paths[request.where.bank][depth]
        if self.tick < self._clock_stops[own]:
            return False
        until = self.tick + self.device.sync_ticks
        if self._half_open is not None and self._half_open.deadline <= until:
            self._finish_activation()
            return True
        sync = self.device.named("sync-write" if request.is_write else "sync-read")
        self._send(sync, request.where.bank, request.where.row, request.where.column)
        self._synced = request, queue
        return True

    def _next_command(self, request: Request) -> str:
        open_row = self._open[request.where.bank]
        if open_row is None:
            return self._ACT
        if open_row != request.where.row:
            return self._PRE
        return self._WR if request.is_write else self._RD

    def _is_ready(self, request: Request) -> bool:
        command, bank = self._next_command(request), request.where.bank
        if command == self._PRE and any(active.where.bank == bank for active in self._active):
            return False
        if self._half_open is not None and (
            command == self._ACT
            or (command in (self._RD, self._WR) and self._half_open.where.bank == bank)
        ):
            return False
        return self.timing.ready(command, request.where.bank, self.tick)

    def _refresh(self, bus: int) -> bool:
        """Sends the waiting refresh, or the precharge it needs, once nothing is in its way."""
        scope = self.device.banks_in(self.device.refresh_depth, self._priority[0])
        if any(request.where.bank in scope for request in self._active):
            return False
        is_open = any(self._open[bank] is not None for bank in scope)
        command = self._PREall if is_open else self._REF
        if self._bus[command] != bus or not self.timing.ready(command, scope[0], self.tick):
            return False
        self._send(command, scope[0])
        if command == self._REF:
            self._priority.popleft()
        return True

    def _send(
        self, command: str, bank: int, row: int = -1, column: int = -1, tick: int | None = None
    ) -> None:
        tick = self.tick if tick is None else tick
        self.timing.issue(command, bank, tick)
        if command == self._ACT:
            self._open[bank] = row
        elif command == self._PRE:
            self._open[bank] = None
        elif command == self._PREall:
            own = self.device.paths[bank][self.device.refresh_depth]
            for other in self.device.banks_in(self.device.refresh_depth, own):
                self._open[other] = None
        self._tally.counts[command] = self._tally.counts.get(command, 0) + 1
        self._log.append(Issued(tick, command, bank, row, column))

    def _classify(self, request: Request, command: str) -> None:
        """Hit, miss or conflict, by the first command that a request needs."""
        if request.classified:
            return
        request.classified = True
        if command == self._ACT:
            self._tally.misses += 1
        elif command == self._PRE:
            self._tally.conflicts += 1
        else:
            self._tally.hits += 1

    def _retire(self, request: Request) -> None:
        """Completes a request whose read or write goes out now; keeps its data clock running."""
        self._last_used[request.where.bank] = self.tick
        depth = self.device.data_clock_depth
        if depth >= 0:
            own = self.device.paths[request.where.bank][depth]
            runs = self.device.after_write if request.is_write else self.device.after_read
            self._clock_stops[own] = max(self._clock_stops[own], self.tick + runs)
        if request.is_write:
            self.completed[request.number] = self.tick
        else:
            self._in_flight.append((request.number, self.tick + self.device.read_latency))


def run(
    dram: DramSpec,
    requests: Iterable[tuple[int, bool]],
    *,
    first_refresh: int | None = None,
    charge_precharge: bool = False,
) -> Run:
    """Serves transactions (line, is_write).

    Before every tick they are offered in order until one is refused.
    """
    controller = Controller(dram, first_refresh=first_refresh)
    if charge_precharge:
        controller.charge_precharge()
    waiting = deque(enumerate(requests))
    n_requests = len(waiting)
    while len(controller.completed) < n_requests:
        while waiting:
            number, (line, is_write) = waiting[0]
            if not controller.offer(number, line, is_write=is_write):
                break
            waiting.popleft()
        controller.step()
    return controller.result()
