"""Request traces of other simulators: one read or write of an address per line."""

from pathlib import Path
from typing import Final

import numpy as np

from ndpsim.dram.device import Device
from ndpsim.dram.patterns import Ints
from ndpsim.errors import TraceError

READS: Final = ("R", "READ", "LD")
WRITES: Final = ("W", "WRITE", "ST")


def read_requests(path: Path, device: Device) -> Ints:
    """Transactions (n, 2) of a trace file: line, whether it is a write.

    A line is ``R 0x1f40``, ``0x1f40 R`` (Ramulator) or ``0x1f40 READ 17`` (DRAMsim3, whose cycle is
    not used: requests are offered as fast as the queue takes them). Empty lines and what follows a
    ``#`` are skipped.

    Raises
    ------
    TraceError
        A line that is none of these, or an address beyond the channel.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(str(path), f"cannot be read: {error}") from None
    size = device.transaction_bytes
    requests = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{path}:{number}"
        address, is_write = _parsed(words, line, where)
        if address >= device.capacity_lines * size:
            raise TraceError(
                where, f"address {address:#x} is beyond the {device.capacity_lines * size} bytes"
            )
        requests.append((address // size, int(is_write)))
    if not requests:
        raise TraceError(str(path), "it holds no requests")
    return np.array(requests, dtype=np.int64)


def _parsed(words: list[str], line: str, where: str) -> tuple[int, bool]:
    first, second, *rest = *words, ""
    kind, place = (first, second) if first.upper() in (*READS, *WRITES) else (second, first)
    is_hex = place.lower().startswith("0x")
    try:
        address = int(place, 16 if is_hex else 10)
    except ValueError:
        address = -1
    extra = [word for word in rest if word]
    if (
        kind.upper() not in (*READS, *WRITES)
        or address < 0
        or len(extra) > 1
        or not all(word.isdecimal() for word in extra)
    ):
        shown = line.strip()[:40]
        raise TraceError(where, f"'{shown}': expected 'R address', 'W address' or 'address READ 7'")
    return address, kind.upper() in WRITES
