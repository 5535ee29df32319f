"""Values of a parameter: choices or an interval, and Latin hypercubes over several."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ndpsim.errors import ConfigError
from ndpsim.study.sweep.definition import Interval, Parameter

_QUANTITY: Final = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z/%]+)\s*")
_DIGITS: Final = 4
"""Significant digits of a value drawn from an interval."""


@dataclass(frozen=True)
class Axis:
    """One parameter: `value` maps [0, 1) onto its values."""

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    unit: str = ""

    def value(self, share: float) -> Any:
        """The value below which this share of the values lies."""
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        return self.shown(self._number(share))

    def _number(self, share: float) -> float:
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return math.exp(low + share * (high - low))
        if self.step:
            n_steps = int((self.high - self.low) / self.step + 1e-9)
            return self.low + self.step * min(int(share * (n_steps + 1)), n_steps)
        return self.low + share * (self.high - self.low)

    def shown(self, number: float) -> Any:
        """A number as written in a configuration."""
        if self.step:
            number = self.low + self.step * round((number - self.low) / self.step)
        rounded = float(f"{number:.{_DIGITS}g}") if not self.step else float(f"{number:.12g}")
        rounded = min(max(rounded, self.low), self.high)
        if self.whole:
            return round(number)
        return f"{rounded:.12g} {self.unit}" if self.unit else rounded

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all when paths and types are checked."""
        return self.choices or (self.shown(self.low), self.shown(self.high))


def axis(where: str, parameter: Parameter) -> Axis:
    """The axis that a parameter describes."""
    if not isinstance(parameter, Interval):
        if not parameter:
            raise ConfigError(where, "an empty list of choices")
        return Axis(choices=tuple(parameter))
    given = (parameter.low, parameter.high, parameter.step)
    parts = [_read(where, value) for value in given if value is not None]
    units = {unit for _, unit in parts}
    if len(units) > 1:
        raise ConfigError(where, f"low, high, step: one unit, not {', '.join(sorted(units))}")
    (low, unit), (high, _) = parts[:2]
    whole = all(isinstance(value, int) for value in given if value is not None)
    step = parts[2][0] if len(parts) > 2 else (1.0 if whole and not parameter.log else None)
    if not low < high:
        raise ConfigError(where, f"low {parameter.low} is not below high {parameter.high}")
    if step is not None and step <= 0:
        raise ConfigError(where, "step must be more than zero")
    if parameter.log and (low <= 0 or parameter.step is not None):
        raise ConfigError(where, "log needs low above zero and no step")
    return Axis(low=low, high=high, step=step, log=parameter.log, whole=whole, unit=unit)


def _read(where: str, value: float | str) -> tuple[float, str]:
    if not isinstance(value, str):
        return float(value), ""
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise ConfigError(where, f"expected a number or a quantity such as 16 GB/s, got '{value}'")
    try:
        return float(match[1]), match[2]
    except ValueError:
        raise ConfigError(where, f"'{match[1]}' is not a number") from None


def latin_hypercube(axes: Mapping[str, Axis], n: int, seed: int) -> list[dict[str, Any]]:
    """`n` points; of every axis, each n-th of the range holds exactly one."""
    draw = np.random.default_rng(seed)
    shares = {path: (draw.permutation(n) + draw.random(n)) / n for path in axes}
    return [
        {path: axes[path].value(float(shares[path][index])) for path in axes} for index in range(n)
    ]
