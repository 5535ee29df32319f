"""The base of every spec, and field types that read quantities with units."""

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from ndpsim.units import format_quantity, parse_quantity


class Spec(BaseModel):
    """A frozen, strict description; unknown fields are errors.

    A spec with a `preset_kind` may be written as the name of a preset of that kind, or as a mapping
    with ``preset: name`` and local differences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    preset_kind: ClassVar[str | None] = None


def _quantity(dimension: str, *, zero: bool) -> Any:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(f"expected a {dimension} with a unit, got {value!r}")  # noqa: TRY004
        if isinstance(value, int):
            example = format_quantity(value, dimension) if value else "with a unit"
            raise ValueError(  # noqa: TRY004 - pydantic reports ValueError only
                f"bare number {value} for a {dimension}; write it with its unit, e.g. '{example}'"
            )
        return parse_quantity(value, dimension)

    def write(value: int) -> str:
        return format_quantity(value, dimension)

    return Annotated[
        int,
        Field(ge=0) if zero else Field(gt=0),
        BeforeValidator(read),
        PlainSerializer(write, when_used="always"),
        WithJsonSchema({"type": "string", "description": f"{dimension} with a unit"}),
    ]


Time = _quantity("time", zero=True)
"""Picoseconds, >= 0."""
Size = _quantity("size", zero=False)
"""Bytes, > 0."""
SizeOrZero = _quantity("size", zero=True)
"""Bytes, >= 0."""
Bandwidth = _quantity("bandwidth", zero=False)
"""Bytes per second, > 0."""
Frequency = _quantity("frequency", zero=False)
"""Hertz, > 0."""
FlopRate = _quantity("flop rate", zero=False)
"""FLOP per second, > 0."""
Energy = _quantity("energy", zero=True)
"""Femtojoules, >= 0."""
EnergyPerBit = _quantity("energy per bit", zero=True)
"""Femtojoules per bit, >= 0."""
EnergyPerFlop = _quantity("energy per FLOP", zero=True)
"""Femtojoules per FLOP, >= 0."""
Power = _quantity("power", zero=True)
"""Microwatts, >= 0."""
Count = Annotated[int, Field(gt=0)]
"""A whole number, > 0."""
CountOrZero = Annotated[int, Field(ge=0)]
"""A whole number, >= 0."""
Frac = Annotated[float, Field(ge=0.0, le=1.0, strict=False)]
"""A share in [0, 1]; an integer 0 or 1 is read as well."""
PositiveFrac = Annotated[float, Field(gt=0.0, le=1.0, strict=False)]
"""A share in (0, 1]."""
