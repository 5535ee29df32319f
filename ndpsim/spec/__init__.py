"""Machinery of descriptions: quantities, strict YAML, presets, overrides, provenance, hash."""

from ndpsim.spec.digest import digest
from ndpsim.spec.model import Spec
from ndpsim.spec.presets import preset_names
from ndpsim.spec.resolve import (
    Resolved,
    Row,
    describe,
    load_preset,
    parse_overrides,
    preset_about,
    preset_sources,
    resolve,
    resolve_preset,
)
from ndpsim.spec.schema import schema

__all__ = [
    "Resolved",
    "Row",
    "Spec",
    "describe",
    "digest",
    "load_preset",
    "parse_overrides",
    "preset_about",
    "preset_names",
    "preset_sources",
    "resolve",
    "resolve_preset",
    "schema",
]
