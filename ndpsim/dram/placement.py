"""Where to put matrices that are read together, so that their streams do not meet in a bank.

Streams that advance alike keep their distance. Bases that are alike modulo the mapper's pattern
send all streams to the same bank at the same time, in different rows: every access is a conflict.
Bases a row apart send them to banks that are neighbours in the pattern, whose bank groups differ
where the mapper alternates them.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ndpsim.dram.device import resolve
from ndpsim.dram.spec import DramSpec
from ndpsim.errors import ConfigError
from ndpsim.units import ceil_div

Placement = Literal["aligned", "skewed"]


def base_addresses(
    dram: DramSpec, sizes: Sequence[int], placement: Placement = "skewed"
) -> tuple[int, ...]:
    """Byte addresses for matrices of `sizes` bytes, one behind the other in a channel.

    `aligned` begins each at the start of the mapper's pattern, `skewed` one row of it further each
    time.

    Raises
    ------
    ConfigError
        They do not fit.
    """
    device = resolve(dram)
    period, _, _ = dram.mapping().regular
    step = min(_row_span(dram, period), period // len(sizes)) if placement == "skewed" else 0
    bases: list[int] = []
    end = 0
    for place, size in enumerate(sizes):
        if size <= 0:
            raise ConfigError("placement", f"expected sizes from one byte on, got {size}")
        offset = place * step % period
        line = max(ceil_div(end - offset, period), 0) * period + offset
        bases.append(line * device.transaction_bytes)
        end = line + ceil_div(size, device.transaction_bytes)
    if end > device.capacity_lines:
        capacity = device.capacity_lines * device.transaction_bytes
        raise ConfigError("placement", f"the matrices do not fit the {capacity} bytes of a channel")
    return tuple(bases)


def _row_span(dram: DramSpec, period: int) -> int:
    """Transactions from the first of a row to its last, a power of two."""
    bank, row, _ = dram.mapping().locate_all(np.arange(period, dtype=np.int64))
    last = int(np.flatnonzero((bank == bank[0]) & (row == row[0]))[-1])
    return 1 << last.bit_length()
