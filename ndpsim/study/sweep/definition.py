"""A sweep as data: a configuration, and what varies in it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ndpsim.spec.model import Count, CountOrZero, InputPath, Spec

Direction = Literal["min", "max"]


class Interval(Spec):
    """Numbers from `low` to `high`, or quantities in one unit such as ``16 GB/s``."""

    low: int | float | str
    """The smallest value."""
    high: int | float | str
    """The largest value."""
    step: int | float | str | None = None
    """Values lie whole steps above `low`; by default whole numbers are one apart and others are
    rounded to four significant digits."""
    log: bool = False
    """Whether equal ratios, not equal differences, are equally likely."""


Parameter = tuple[Any, ...] | Interval
"""A list of choices, or an interval."""


class RandomSpec(Spec):
    """A seeded Latin hypercube: every parameter's range is covered evenly."""

    n: Count
    """Points."""
    seed: CountOrZero = 0
    """The draw."""
    space: Annotated[dict[str, Parameter], Field(min_length=1)]
    """Configuration path -> values."""


class SearchSpec(Spec):
    """Optuna proposes generations of points from what earlier ones gave.

    A generation is proposed as a whole and told in order, so its points depend on the seed alone,
    not on how many workers there are.
    """

    space: Annotated[dict[str, Parameter], Field(min_length=1)]
    """Configuration path -> values."""
    generations: Count
    """Generations proposed."""
    population: Annotated[int, Field(ge=2)]
    """Points of a generation."""
    sampler: Literal["nsga2", "tpe", "random"] = "nsga2"
    """How Optuna proposes."""
    seed: CountOrZero = 0
    """The draw."""


class SweepSpec(Spec):
    """What a sweep file says.

    Points are the product of `list`, `zip`, `grid` and `random`, the last varying fastest; `search`
    stands alone.
    """

    base: InputPath | dict[str, Any]
    """A run's configuration: a file, or its fields."""
    about: str = ""
    """One line for people."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Configuration path -> value, the same for all points."""
    list: tuple[dict[str, Any], ...] = ()
    """Points one by one: configuration path -> value."""
    zip: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Configuration path -> values, all lists of the same length and read side by side."""
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Configuration path -> values; all combinations."""
    random: RandomSpec | None = None
    """A random sample."""
    search: SearchSpec | None = None
    """A guided search for the best points; needs `objectives`."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Name of a further column -> expression on result and configuration values."""
    objectives: dict[str, Direction] = Field(default_factory=dict)
    """Expression -> whether less or more of it is better."""
    constraints: tuple[str, ...] = ()
    """Comparisons ``a <= b`` or ``a >= b`` that a good point meets."""

    @model_validator(mode="after")
    def _something_varies(self) -> Self:
        if self.search is not None:
            if self.list or self.zip or self.grid or self.random:
                raise ValueError("search stands alone; no list, zip, grid or random beside it")
            if not self.objectives:
                raise ValueError("search needs objectives")
        elif not (self.list or self.zip or self.grid or self.random):
            raise ValueError("nothing varies; give one of list, zip, grid, random, search")
        return self

    @model_validator(mode="after")
    def _lists_agree(self) -> Self:
        lengths = {path: len(values) for path, values in self.zip.items()}
        if len(frozenset(lengths.values())) > 1:
            shown = ", ".join(f"{path} has {n}" for path, n in lengths.items())
            raise ValueError(f"zip: lists of unequal length: {shown}")
        for path, values in (*self.zip.items(), *self.grid.items()):
            if not values:
                raise ValueError(f"{path}: an empty list of values")
        return self

    @model_validator(mode="after")
    def _each_path_varies_once(self) -> Self:
        paths = [*self.zip, *self.grid, *(self.random.space if self.random else ())]
        paths += list(dict.fromkeys(path for point in self.list for path in point))
        for path in paths:
            if paths.count(path) > 1:
                raise ValueError(f"{path}: varied twice")
        return self
