"""Quantities with units, and the one place where clocks become picoseconds.

Inside ndpsim a quantity is an ``int`` of its base unit: picoseconds, bytes, bytes per second,
hertz, FLOP per second, femtojoules, microwatts. A text that no such integer can hold exactly is
refused.
"""

import re
from fractions import Fraction
from typing import Final

PS_PER_S: Final = 10**12

_SI: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _scaled(unit: str, factor: int = 1, *, binary: bool = False) -> dict[str, Fraction]:
    prefixes = _SI | _BINARY if binary else _SI
    return {prefix + unit: Fraction(scale * factor) for prefix, scale in prefixes.items()}


UNITS: Final[dict[str, dict[str, Fraction]]] = {
    "time": {
        "ps": Fraction(1),
        "ns": Fraction(10**3),
        "us": Fraction(10**6),
        "ms": Fraction(10**9),
        "s": Fraction(PS_PER_S),
    },
    "size": _scaled("B", binary=True),
    "bandwidth": _scaled("B/s", binary=True) | {p + "b/s": Fraction(s, 8) for p, s in _SI.items()},
    "frequency": _scaled("Hz"),
    "flop rate": _scaled("FLOP/s"),
    "energy": {
        "fJ": Fraction(1),
        "pJ": Fraction(10**3),
        "nJ": Fraction(10**6),
        "uJ": Fraction(10**9),
        "mJ": Fraction(10**12),
        "J": Fraction(10**15),
    },
    "energy per bit": {"fJ/bit": Fraction(1), "pJ/bit": Fraction(10**3)},
    "energy per FLOP": {"fJ/FLOP": Fraction(1), "pJ/FLOP": Fraction(10**3)},
    "power": {
        "uW": Fraction(1),
        "mW": Fraction(10**3),
        "W": Fraction(10**6),
        "kW": Fraction(10**9),
    },
}
"""Dimension -> unit -> how many base units it is worth."""

_QUANTITY: Final = re.compile(r"([+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?)\s*([A-Za-z/]+)")
_LARGEST: Final = 2**63 - 1
_DECIMALS: Final = 6
"""Digits behind the point that a formatted quantity has at most."""


def parse_quantity(text: str, dimension: str) -> int:
    """The integer that a quantity text stands for, in the dimension's base unit.

    >>> parse_quantity("13.75 ns", "time"), parse_quantity("24 GiB", "size")
    (13750, 25769803776)

    Raises
    ------
    ValueError
        A bare number, an unknown unit, or a value that 64 bits of the base unit cannot hold
        exactly.
    """
    units = UNITS[dimension]
    shown = text if len(text) <= 60 else text[:57] + "..."
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in units:
        example = f"'1 {_base_unit(dimension)}'"
        raise ValueError(
            f"expected a {dimension} such as {example} (units: {', '.join(units)}), got '{shown}'"
        )
    value = Fraction(match[1]) * units[match[2]]
    if value.denominator != 1:
        raise ValueError(f"'{shown}' is not a whole number of {_base_unit(dimension)}")
    if abs(value) > _LARGEST:
        raise ValueError(f"'{shown}' is more than 64 bits of {_base_unit(dimension)} hold")
    return value.numerator


def format_quantity(value: int, dimension: str) -> str:
    """The shortest exact text of a quantity of at least 1; `parse_quantity` reads it back.

    >>> format_quantity(13750, "time"), format_quantity(25769803776, "size")
    ('13.75 ns', '24 GiB')
    """
    texts = [
        f"{number} {unit}"
        for unit, scale in UNITS[dimension].items()
        if not unit.endswith("b/s")
        if (number := _decimal(Fraction(value) / scale)) is not None
    ]
    return min(texts, key=lambda text: (text.startswith("0."), len(text), text))


def _base_unit(dimension: str) -> str:
    return next(unit for unit, scale in UNITS[dimension].items() if scale == 1)


def _decimal(value: Fraction) -> str | None:
    """The exact decimal, or None if it needs more digits than a reader wants."""
    scaled = value * 10**_DECIMALS
    if scaled.denominator != 1:
        return None
    whole, decimals = divmod(abs(scaled.numerator), 10**_DECIMALS)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{decimals:0{_DECIMALS}d}".rstrip("0").rstrip(".")


def ceil_div(numerator: int, denominator: int) -> int:
    """The quotient rounded up.

    >>> ceil_div(7, 2)
    4
    """
    return -(-numerator // denominator)


def ps_from_cycles(n_cycles: int, frequency_hz: int) -> int:
    """Picoseconds that `n_cycles` of a clock last, rounded up once (never accumulated).

    >>> ps_from_cycles(3, 1_410_000_000)
    2128
    """
    return ceil_div(n_cycles * PS_PER_S, frequency_hz)


def cycles_from_ps(duration_ps: int, frequency_hz: int) -> int:
    """The fewest whole cycles of a clock that cover a duration.

    >>> cycles_from_ps(13750, 1_600_000_000)
    22
    """
    return ceil_div(duration_ps * frequency_hz, PS_PER_S)


def ps_for(amount: int, rate_per_s: int) -> int:
    """Picoseconds to move or do `amount` at a rate per second, rounded up.

    >>> ps_for(64, 25_600_000_000)
    2500
    """
    return ceil_div(amount * PS_PER_S, rate_per_s)
