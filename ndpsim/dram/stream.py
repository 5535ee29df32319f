"""When the data of a regular stream arrives."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ndpsim.dram.check import check_log
from ndpsim.dram.device import Device, resolve
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import ConfigError, InvariantError
from ndpsim.memo import Memo
from ndpsim.units import PS_PER_S, ceil_div, ps_from_cycles

if TYPE_CHECKING:
    from ndpsim.dram.fastforward import StreamTable

LOG_PER_LINE: Final = 4
"""Commands a transaction needs at most on average: precharge, activate, read, refreshes."""
MIN_LOG: Final = 1024
"""Commands a short stream may take besides, waiting through refreshes."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A sequential read of one channel from its first byte on."""

    n_bytes: int
    kind: Literal["read"] = "read"
    refresh_offset_ps: int = 0
    """How far into a refresh interval the stream starts, in [0, tREFI)."""


@dataclass(frozen=True, slots=True)
class StreamOutcome:
    """When a stream's data had arrived."""

    marks_ps: tuple[int, ...]
    """For each mark: when all bytes before it had arrived; 0 for a mark of 0 bytes."""
    duration_ps: int
    """When all bytes had arrived."""
    commands: tuple[tuple[str, int], ...]
    """(command, how often it was issued), the charged precharge included."""


def stream_table(memo: Memo, dram: DramSpec) -> "StreamTable":
    """The steps of a device, shared by all its streams; what it learns never changes an answer."""
    # the compiler behind it takes a third of a second to load
    from ndpsim.dram.fastforward import StreamTable

    return StreamTable(dram)


def stream_marks(
    memo: Memo, dram: DramSpec, stream: Stream, marks: tuple[int, ...] = ()
) -> StreamOutcome:
    """When the bytes before each mark of a stream had arrived.

    The stream starts at 0 ps with a precharge of all banks, whose tRP it pays, and asks for its
    bytes in order as fast as the queue takes them. The answers are those of the reference
    controller, whatever the length.

    Parameters
    ----------
    marks
        Bytes from the start, each in [0, n_bytes].

    Raises
    ------
    ConfigError
        The stream is empty or longer than the mapping's regular run, or a mark lies outside it.
    """
    table = memo(stream_table, dram)
    size, hz = dram.transaction_bytes, table.device.clock_hz
    n_lines = _checked_lines(table, stream, size, marks)
    wanted = sorted({*marks, stream.n_bytes} - {0})
    first_refresh = _first_refresh(table.device, stream)
    walk = table.serve(n_lines, first_refresh, [ceil_div(mark, size) - 1 for mark in wanted])
    times = {0: 0}
    for mark, cycle in zip(wanted, walk.found, strict=True):
        times[mark] = ps_from_cycles(cycle, hz)
    return StreamOutcome(
        tuple(times[mark] for mark in marks), times[stream.n_bytes], table.commands(walk.counts)
    )


def audit_stream(dram: DramSpec, stream: Stream) -> tuple[str, ...]:
    """Every violation of the standard in a stream, all its commands simulated; see `check_log`."""
    from ndpsim.dram import kernel

    n_lines = ceil_div(stream.n_bytes, dram.transaction_bytes)
    run = kernel.run(
        dram,
        [(line, False) for line in range(n_lines)],
        first_refresh=_first_refresh(resolve(dram), stream) or None,
        charge_precharge=True,
        max_log=LOG_PER_LINE * n_lines + MIN_LOG,
    )
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


def _checked_lines(table: "StreamTable", stream: Stream, size: int, marks: tuple[int, ...]) -> int:
    if stream.n_bytes <= 0:
        raise ConfigError("stream", f"expected at least one byte, got {stream.n_bytes}")
    n_lines = ceil_div(stream.n_bytes, size)
    if n_lines > table.run_lines:
        raise ConfigError(
            "stream",
            f"{stream.n_bytes} bytes are more than the {table.run_lines * size} that the mapper "
            "lays out regularly",
        )
    if marks and not 0 <= min(marks) <= max(marks) <= stream.n_bytes:
        raise ConfigError("stream", f"a mark lies outside its {stream.n_bytes} bytes")
    return n_lines
