"""Request patterns by name: streams, strides, conflicts, random accesses, mixes.

A pattern is a list of transactions (line, is_write) that covers a channel of `capacity` lines,
`row` of them in a row of a bank and `all_rows` in one row of all banks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import ConfigError, unknown

Ints = NDArray[np.int64]

MULTIPLIER: Final = 6364136223846793005
INCREMENT: Final = 1442695040888963407
"""Of the linear congruential generator modulo 2**64 behind the random patterns."""


class Layout(Protocol):
    """What a pattern needs to know of a channel; a `Device` is one."""

    @property
    def rows(self) -> int:
        """Rows of a bank."""

    @property
    def lines_per_row(self) -> int:
        """Transactions of a row."""

    @property
    def n_banks(self) -> int:
        """Banks of the channel."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """A channel in transactions, and the seed of random patterns."""

    row: int
    all_rows: int
    rows: int
    capacity: int
    seed: int


def _sequential(i: Ints, shape: _Shape) -> Ints:
    """One transaction after the other."""
    return i % shape.capacity


def _bank_conflicts(i: Ints, shape: _Shape) -> Ints:
    """The next row each time; of the same bank where the row has the highest address bits."""
    return i % shape.rows * shape.all_rows


def _row_stride(i: Ints, shape: _Shape) -> Ints:
    """The first column of the next row in the order of addresses."""
    return i * shape.row % shape.capacity


def _stride(i: Ints, shape: _Shape, stride: int) -> Ints:
    """Every S-th transaction."""
    return i * stride % shape.capacity


def _random(i: Ints, shape: _Shape) -> Ints:
    """Anywhere, by a linear congruential generator."""
    lines = np.empty_like(i)
    x = shape.seed
    for place in range(len(i)):
        x = (x * MULTIPLIER + INCREMENT) % 2**64
        lines[place] = (x >> 33) % shape.capacity
    return lines


def _split(i: Ints, shape: _Shape) -> Ints:
    """Two reads from the lower half of the channel, then a write to the upper half."""
    turn, place = i // 3, i % 3
    return np.where(place == 2, shape.capacity // 2 + turn, 2 * turn + place)


def _streams(i: Ints, shape: _Shape, n_streams: int, group: int, skew: int) -> Ints:
    """S sequential streams in turn, G transactions each, bases skewed by K rows."""
    turn = i // group
    stream = turn % n_streams
    base = stream * (shape.capacity // n_streams) + stream * skew * shape.row
    return (base + turn // n_streams * group + i % group) % shape.capacity


def _ping_pong(i: Ints, shape: _Shape) -> Ints:
    """Two rows in turn; of the same bank where the row has the highest address bits."""
    return i % 2 * shape.all_rows + i // 2


@dataclass(frozen=True, slots=True)
class _Pattern:
    lines: Callable[..., Ints]
    writes: str
    """"none", "all" or "third": every third transaction."""
    arguments: tuple[str, ...] = ()


PATTERNS: Final = {
    "seq": _Pattern(_sequential, "none"),
    "seqw": _Pattern(_sequential, "all"),
    "bankconf": _Pattern(_bank_conflicts, "none"),
    "rowstride": _Pattern(_row_stride, "none"),
    "stride": _Pattern(_stride, "none", ("S",)),
    "rand": _Pattern(_random, "none"),
    "randw": _Pattern(_random, "all"),
    "randr2w1": _Pattern(_random, "third"),
    "r2w1": _Pattern(_sequential, "third"),
    "r2w1s": _Pattern(_split, "third"),
    "ms": _Pattern(_streams, "none", ("S", "G", "K")),
    "pingpong": _Pattern(_ping_pong, "none"),
}
"""Patterns by name; those with arguments are written ``name:S:G:K``."""


def pattern_names() -> list[str]:
    """Names as they are written, with their arguments."""
    return [":".join((name, *pattern.arguments)) for name, pattern in PATTERNS.items()]


def generate(text: str, n_requests: int, layout: Layout, seed: int = 1) -> Ints:
    """Transactions (n, 2) of a named pattern: line, whether it is a write.

    Raises
    ------
    ConfigError
        An unknown name, or arguments that do not fit.
    """
    name, *given = text.split(":")
    if name not in PATTERNS:
        raise unknown("pattern", "pattern", name, pattern_names())
    pattern = PATTERNS[name]
    least = [0 if argument == "K" else 1 for argument in pattern.arguments]
    if len(given) != len(least) or not all(
        number.isdecimal() and int(number) >= low for number, low in zip(given, least, strict=True)
    ):
        form = ":".join((name, *pattern.arguments))
        raise ConfigError("pattern", f"'{text}': expected {form} with whole numbers")
    per_row = layout.lines_per_row
    all_rows = per_row * layout.n_banks
    shape = _Shape(per_row, all_rows, layout.rows, all_rows * layout.rows, seed)
    index = np.arange(n_requests, dtype=np.int64)
    lines = pattern.lines(index, shape, *map(int, given))
    if pattern.writes == "third":
        writes = index % 3 == 2
    else:
        writes = np.full(n_requests, pattern.writes == "all")
    return np.stack([lines, writes.astype(np.int64)], axis=1)
