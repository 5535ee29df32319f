"""When the data of a regular stream arrives."""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.dram.check import check_log
from ndpsim.dram.device import Device, resolve
from ndpsim.dram.reference import Run
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import ConfigError, InvariantError
from ndpsim.memo import Memo
from ndpsim.units import PS_PER_S, ceil_div, ps_from_cycles

if TYPE_CHECKING:
    from ndpsim.dram.fastforward import StreamTable

Ints = NDArray[np.int64]

MAX_INT: Final = 1 << 62
"""Products below are safe in 64 bits."""
LOG_PER_LINE: Final = 4
"""Commands a transaction needs at most on average: precharge, activate, read, refreshes."""
MIN_LOG: Final = 1024
"""Commands a short stream may take besides, waiting through refreshes."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Reads or writes of one channel in a regular order: one sequential run, or several in turn."""

    n_bytes: int
    """Of all runs together."""
    kind: str = "read"
    """"read", "write", or letters that repeat, one per transaction: "rrw"."""
    refresh_offset_ps: int = 0
    """How far into a refresh interval the stream starts, in [0, tREFI)."""
    bases: tuple[int, ...] = (0,)
    """Byte address at which each run begins, whole transactions."""
    group: int = 1
    """Transactions of a run before it is the next one's turn."""
    stride: int = 1
    """Transactions from one of a run to the next."""

    @property
    def shape(self) -> "StreamShape":
        """The stream without its length and start."""
        return StreamShape(self.kind, self.bases, self.group, self.stride)


@dataclass(frozen=True, slots=True)
class StreamShape:
    """What streams have in common that differ in length and start only; see `Stream`."""

    kind: str
    bases: tuple[int, ...]
    group: int
    stride: int

    @property
    def writes(self) -> tuple[bool, ...]:
        """Whether each transaction is a write, repeating."""
        letters = {"read": "r", "write": "w"}.get(self.kind, self.kind)
        return tuple(letter == "w" for letter in letters)

    @property
    def turn(self) -> int:
        """Transactions until every run had its turn."""
        return self.group * len(self.bases)

    def lines(self, dram: DramSpec, numbers: Ints) -> Ints:
        """Transactions (lines of the channel) by their number in the stream."""
        bases = np.array(self.bases, dtype=np.int64) // dram.transaction_bytes
        turn, place = numbers // self.turn, numbers % self.turn
        return bases[place // self.group] + self.stride * (turn * self.group + place % self.group)

    def requests(self, dram: DramSpec, n_lines: int) -> Ints:
        """All transactions of a stream, (n, 2): line, whether it is a write."""
        numbers = np.arange(n_lines, dtype=np.int64)
        writes = np.array(self.writes, dtype=np.int64)
        return np.stack([self.lines(dram, numbers), writes[numbers % len(writes)]], axis=1)


@dataclass(frozen=True, slots=True)
class StreamOutcome:
    """When a stream's data had arrived."""

    marks_ps: tuple[int, ...]
    """For each mark: when all bytes before it had arrived; 0 for a mark of 0 bytes."""
    duration_ps: int
    """When all bytes had arrived."""
    commands: tuple[tuple[str, int], ...]
    """(command, how often it was issued), the charged precharge included."""


def stream_table(memo: Memo, dram: DramSpec, shape: StreamShape) -> "StreamTable":
    """The steps of streams of a shape, shared by them all; what it learns changes no answer."""
    # the compiler behind it takes a third of a second to load
    from ndpsim.dram.fastforward import StreamTable

    period, rows, _ = dram.mapping().regular
    # after so many transactions each run is at the same place of the mapping's pattern, and the
    # next is of the same kind
    step = shape.stride * shape.group
    turns = period // gcd(period, step)
    n_requests = lcm(turns * shape.turn, len(shape.writes))
    requests = shape.requests(dram, n_requests)
    bank, row, _ = dram.mapping().locate_all(requests[:, 0])
    pattern = np.stack([bank, row, requests[:, 0], requests[:, 1]])
    advance = n_requests // shape.turn * step
    return StreamTable(dram, pattern, (advance // period * rows, advance))


def stream_marks(
    memo: Memo, dram: DramSpec, stream: Stream, marks: tuple[int, ...] = ()
) -> StreamOutcome:
    """When the bytes before each mark of a stream had arrived.

    The stream starts at 0 ps with a precharge of all banks, whose tRP it pays, and asks for its
    bytes in order as fast as the queue takes them. The answers are those of the reference
    controller, whatever the length. A write has arrived when it is sent.

    Parameters
    ----------
    marks
        Bytes from the start, each in [0, n_bytes].

    Raises
    ------
    ConfigError
        The stream is empty or does not fit the channel, or a mark lies outside it.
    """
    size = dram.transaction_bytes
    n_lines = _checked_lines(dram, stream, marks)
    if not _is_regular(dram, stream.shape, n_lines):
        return _brute_force(dram, stream, marks)
    table = memo(stream_table, dram, stream.shape)
    wanted = np.array([*marks, stream.n_bytes], dtype=np.int64)
    ascending, order = np.unique(wanted, return_inverse=True)
    lines = (ascending + size - 1) // size - 1
    n_zero = int(np.searchsorted(lines, 0))
    served = table.serve(n_lines, _first_refresh(table.device, stream), lines[n_zero:])
    times = np.zeros(len(lines), dtype=np.int64)
    times[n_zero:] = _ps_of(served.arrivals, table.device.clock_hz)
    found = times[order].tolist()
    return StreamOutcome(tuple(found[:-1]), found[-1], table.commands(served.counts))


def _ps_of(cycles: Ints, hz: int) -> Ints:
    """`ps_from_cycles` of many."""
    ratio = Fraction(PS_PER_S, hz)
    if not len(cycles):
        return cycles
    if int(cycles[-1]) * ratio.numerator < MAX_INT:
        return -(-cycles * ratio.numerator // ratio.denominator)
    return np.array([ps_from_cycles(cycle, hz) for cycle in cycles.tolist()], dtype=np.int64)


def _is_regular(dram: DramSpec, shape: StreamShape, n_lines: int) -> bool:
    """Whether no run of the stream leaves what the mapper lays out regularly."""
    _, _, run = dram.mapping().regular
    turns = (n_lines - 1) // shape.turn + 1
    length = shape.stride * shape.group * turns
    starts = [base // dram.transaction_bytes for base in shape.bases]
    return all(start // run == (start + length - 1) // run for start in starts)


def _brute_force(dram: DramSpec, stream: Stream, marks: tuple[int, ...]) -> StreamOutcome:
    """The stream, every command of it simulated."""
    run = _simulated(dram, stream, max_log=0)
    hz, size = resolve(dram).clock_hz, dram.transaction_bytes
    arrived = np.maximum.accumulate(np.array([0, *run.completed], dtype=np.int64))
    times = [
        ps_from_cycles(int(arrived[ceil_div(mark, size)]), hz) for mark in (*marks, stream.n_bytes)
    ]
    commands = tuple((c.name, run.counts.get(c.name, 0)) for c in dram.standard.commands)
    return StreamOutcome(tuple(times[:-1]), times[-1], commands)


def _simulated(dram: DramSpec, stream: Stream, max_log: int) -> Run:
    from ndpsim.dram import kernel

    n_lines = ceil_div(stream.n_bytes, dram.transaction_bytes)
    return kernel.run(
        dram,
        stream.shape.requests(dram, n_lines),
        first_refresh=_first_refresh(resolve(dram), stream) or None,
        charge_precharge=True,
        max_log=max_log,
    )


def audit_stream(dram: DramSpec, stream: Stream) -> tuple[str, ...]:
    """Every violation of the standard in a stream, all its commands simulated; see `check_log`."""
    n_lines = ceil_div(stream.n_bytes, dram.transaction_bytes)
    run = _simulated(dram, stream, LOG_PER_LINE * n_lines + MIN_LOG)
    if len(run.log) != sum(run.counts.values()):
        raise InvariantError("dram stream", f"more commands than {len(run.log)} in the log")
    return check_log(dram, run.log)


def refresh_interval_ps(dram: DramSpec) -> int:
    """Time between two refreshes (tREFI); 0 if none are sent."""
    device = resolve(dram)
    return ps_from_cycles(device.refresh_interval, device.clock_hz)


def _first_refresh(device: Device, stream: Stream) -> int:
    """The cycle of the first refresh; 0 if none are sent."""
    if not device.refresh_interval:
        return 0
    offset = stream.refresh_offset_ps * device.clock_hz // PS_PER_S
    if not 0 <= offset < device.refresh_interval:
        raise ConfigError(
            "stream", f"refresh offset {stream.refresh_offset_ps} ps is not in [0, tREFI)"
        )
    return device.refresh_interval - offset


def _checked_lines(dram: DramSpec, stream: Stream, marks: tuple[int, ...]) -> int:
    """Transactions of a stream that makes sense."""
    size, shape = dram.transaction_bytes, stream.shape
    if stream.n_bytes <= 0:
        raise ConfigError("stream", f"expected at least one byte, got {stream.n_bytes}")
    if not shape.writes or (set(shape.kind) - set("rw") and shape.kind not in ("read", "write")):
        raise ConfigError("stream", f"kind '{shape.kind}': expected read, write or letters r and w")
    if shape.group < 1 or shape.stride < 1 or not shape.bases:
        raise ConfigError("stream", "expected a group, a stride and a number of bases from 1 on")
    if any(base < 0 or base % size for base in shape.bases):
        raise ConfigError("stream", f"a base is not a multiple of {size} bytes")
    n_lines = ceil_div(stream.n_bytes, size)
    last = max(shape.bases) // size + shape.stride * shape.group * ((n_lines - 1) // shape.turn + 1)
    if last - shape.stride + 1 > resolve(dram).capacity_lines:
        capacity = resolve(dram).capacity_lines * size
        raise ConfigError("stream", f"it ends beyond the {capacity} bytes of the channel")
    if marks and not 0 <= min(marks) <= max(marks) <= stream.n_bytes:
        raise ConfigError("stream", f"a mark lies outside its {stream.n_bytes} bytes")
    return n_lines
