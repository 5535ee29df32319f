"""Machinery of descriptions: quantities, strict YAML, presets, overrides, provenance, hash."""

from ndpsim.spec.digest import digest
from ndpsim.spec.model import Spec
from ndpsim.spec.presets import preset_names
from ndpsim.spec.resolve import (
    Resolved,
    Row,
    describe,
    load_preset,
    preset_about,
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
    "preset_about",
    "preset_names",
    "resolve",
    "resolve_preset",
    "schema",
]
