"""The base of every spec, and field types that read quantities with units."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from ndpsim.spec.digest import digest
from ndpsim.units import format_quantity, parse_quantity


class Spec(BaseModel):
    """A frozen, strict description; unknown fields are errors.

    A spec with a `preset_kind` may be written as the name of a preset of that kind, or as a mapping
    with ``preset: name`` and local differences. If such a spec has a field ``name``, a preset that
    does not set it fills it with its own name.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
    preset_kind: ClassVar[str | None] = None
    family_tag: ClassVar[str | None] = None
    """On the base of a family of specs known by names: the key that holds the name.

    Such a spec may be written as the name alone, or as a mapping with this key and other fields.
    """

    @classmethod
    def family_names(cls) -> list[str]:
        """Names of the family's members."""
        return []

    @classmethod
    def family_member(cls, name: str) -> "type[Spec]":
        """The member of that name; raises a `ConfigError` if there is none."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _read_lists_as_tuples(cls, data: Any) -> Any:
        """A YAML list is what a tuple field expects; strict mode alone would refuse it."""
        return _tuples(data) if isinstance(data, dict) else data

    @cached_property
    def _hash(self) -> int:
        return int(digest(self.model_dump(mode="json"))[:15], 16)

    def __hash__(self) -> int:
        """By content, computed once: specs are keys of the memo."""
        return self._hash

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields replaced; `update` is not validated."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("_hash", None)
        return copy


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class Quantity:
    """Marks an integer field as a quantity of a dimension, written as text with a unit."""

    dimension: str
    zero: bool = False

    def read(self, value: object) -> int:
        """The integer of the base unit."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"expected a {self.dimension} with a unit, got {value!r}"[:120])
        if not isinstance(value, str):
            raise ValueError(f"bare number {value} for a {self.dimension}; {self._advice(value)}")
        number = parse_quantity(value, self.dimension)
        if number < 0 or (number == 0 and not self.zero):
            least = "zero or more" if self.zero else "more than zero"
            raise ValueError(f"a {self.dimension} must be {least}, got '{value}'")
        return number

    def _advice(self, value: float) -> str:
        if isinstance(value, int) and value > 0:
            return f"write it with its unit, e.g. '{format_quantity(value, self.dimension)}'"
        return "write it with its unit"

    def write(self, value: int) -> str:
        """The shortest exact text."""
        return format_quantity(value, self.dimension)

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Text with a unit in, integer inside, text out."""
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(self.write),
        )

    def __get_pydantic_json_schema__(self, _: Any, __: Any) -> dict[str, Any]:
        """A text; editors show the dimension."""
        number = r"^[+]?\d+(\.\d+)?([eE][+-]?\d+)?\s*[A-Za-z/]+$"
        return {"type": "string", "pattern": number, "format": f"ndpsim-{self.dimension}"}


@dataclass(frozen=True, slots=True)
class RelativePath:
    """Marks a path field; `resolve` reads it relative to the file it is written in."""

    def read(self, value: object) -> Path:
        """The path of a text."""
        if not isinstance(value, str | Path) or not str(value):
            raise ValueError(f"expected a path, got {value!r}"[:120])
        return Path(value)

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Text in, path inside, text with forward slashes out."""
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(Path.as_posix),
        )

    def __get_pydantic_json_schema__(self, _: Any, __: Any) -> dict[str, Any]:
        """A text."""
        return {"type": "string", "format": "path"}


Time = Annotated[int, Quantity("time", zero=True)]
"""Picoseconds, >= 0."""
Size = Annotated[int, Quantity("size")]
"""Bytes, > 0."""
SizeOrZero = Annotated[int, Quantity("size", zero=True)]
"""Bytes, >= 0."""
Bandwidth = Annotated[int, Quantity("bandwidth")]
"""Bytes per second, > 0."""
Frequency = Annotated[int, Quantity("frequency")]
"""Hertz, > 0."""
FlopRate = Annotated[int, Quantity("flop rate")]
"""FLOP per second, > 0."""
Energy = Annotated[int, Quantity("energy", zero=True)]
"""Femtojoules, >= 0."""
EnergyPerBit = Annotated[int, Quantity("energy per bit", zero=True)]
"""Femtojoules per bit, >= 0."""
EnergyPerFlop = Annotated[int, Quantity("energy per FLOP", zero=True)]
"""Femtojoules per FLOP, >= 0."""
Power = Annotated[int, Quantity("power", zero=True)]
"""Microwatts, >= 0."""
Count = Annotated[int, Field(gt=0)]
"""A whole number, > 0."""
CountOrZero = Annotated[int, Field(ge=0)]
"""A whole number, >= 0."""
Frac = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share in [0, 1]; an integer 0 or 1 is read as well."""
PositiveFrac = Annotated[float, Field(gt=0.0, le=1.0)]
"""A share in (0, 1]."""
InputPath = Annotated[Path, RelativePath()]
"""A file or folder, relative to the configuration file that names it."""
