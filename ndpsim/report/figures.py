"""Numbers as people read them: three or four significant digits and a unit."""

from collections.abc import Iterable
from typing import Final

_SCALES: Final = (
    (1e18, "E"),
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
)
_GIB: Final = 1 << 30


def digits(value: float, n: int = 3) -> str:
    """A number with `n` significant digits and no exponent.

    >>> digits(0.012345), digits(1234.5), digits(1.0)
    ('0.0123', '1234', '1.00')
    """
    if value == 0:
        return "0"
    exponent = int(f"{value:.{n - 1}e}".split("e")[1])
    return f"{value:.{max(n - 1 - exponent, 0)}f}"


def quantity(value: float, unit: str, n: int = 3) -> str:
    """A number of units with the prefix that suits it.

    >>> quantity(0.0135, "s"), quantity(15.78e9, "B"), quantity(999.96e-3, "s")
    ('13.5 ms', '15.8 GB', '1.00 s')
    """
    size = abs(float(f"{value:.{n - 1}e}"))
    for scale, prefix in _SCALES:
        if size >= scale:
            return f"{digits(value / scale, n)} {prefix}{unit}"
    return f"0 {unit}" if value == 0 else f"{value:.{n - 1}e} {unit}"


def gib(n_bytes: int) -> str:
    """Bytes in GiB, without the unit."""
    return digits(n_bytes / _GIB)


def percent(frac: float) -> str:
    """A share as a whole percentage, with a digit more where it is small.

    >>> percent(0.649), percent(0.0047), percent(0.00001), percent(1)
    ('65 %', '0.5 %', '<0.1 %', '100 %')
    """
    value = 100 * frac
    if value == 0 or value >= 9.95:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value >= 0.05 else "<0.1 %"


def listed(items: Iterable[str]) -> str:
    """Items with commas."""
    return ", ".join(items)
