"""Numbers as people read them: three or four significant digits and a unit."""

from collections.abc import Sequence
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


def column(values: Sequence[float | None], unit: str) -> tuple[str, list[str]]:
    """Figures of one unit, fit for their middle one; "-" for none.

    >>> column([0.0135, 0.9, None, 0.00001], "s")
    ('ms', ['13.50', '900.0', '-', '0.010'])
    """
    known = sorted(value for value in values if value)
    middle = known[len(known) // 2] if known else 1.0
    scale, prefix = next((pair for pair in _SCALES if middle >= pair[0]), _SCALES[-1])
    return prefix + unit, ["-" if v is None else _cell(v / scale) for v in values]


def _cell(value: float) -> str:
    """Four significant digits, but never more than three decimals."""
    return digits(value, 4) if value == 0 or value >= 1 else f"{value:.3f}"


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
