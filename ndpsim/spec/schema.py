"""JSON schema of a spec, for editors."""

from contextlib import suppress
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ndpsim.errors import ConfigError
from ndpsim.spec.model import Spec
from ndpsim.spec.presets import preset_names

IN_FILE: Final[JsonSchemaValue] = {"type": "string", "pattern": r"\.py:[A-Za-z_]\w*$"}
"""A member of a family that is a class in a file: ``PATH.py:Class``."""


def schema(spec_type: type[Spec]) -> dict[str, Any]:
    """The schema of what may be written for a spec: values, or names of presets."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **spec_type.model_json_schema(schema_generator=_AsWritten),
    }


class _AsWritten(GenerateJsonSchema):
    """Where a spec has presets or is a family of named specs, its name will do."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Titles would be title-cased names (``tRCD`` -> ``Trcd``); the name itself serves."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A spec's fields, or a name that stands for them."""
        spec = schema["cls"]
        fields = super().model_schema(schema)
        if not issubclass(spec, Spec):
            return fields
        if spec.family_tag is not None:
            return self._family(spec, spec.family_tag, fields)
        if spec.preset_kind is None:
            return fields
        named = {"type": "string", "enum": preset_names(spec.preset_kind)}
        inherits = _with_first(fields, "preset", named) | {"required": ["preset"]}
        return {"anyOf": [named, fields, inherits], "title": spec.__name__}

    def _family(self, spec: type[Spec], tag: str, fields: JsonSchemaValue) -> JsonSchemaValue:
        members = _members(spec)
        for name, member in members.items():
            if member is spec:
                tagged = _with_first(fields, tag, {"const": name})
                return tagged | {"required": [tag, *fields.get("required", [])]}
        named: JsonSchemaValue = {"type": "string", "enum": spec.family_names()}
        forms = [self.generate_inner(m.__pydantic_core_schema__) for m in members.values()]
        of_a_file: JsonSchemaValue = {
            "type": "object",
            "required": [tag],
            "properties": {tag: IN_FILE},
        }
        return {"anyOf": [named, *forms, IN_FILE, of_a_file], "title": spec.__name__}


def _members(spec: type[Spec]) -> dict[str, type[Spec]]:
    """Members that load; a plugin that does not fails when a configuration asks for it."""
    members = {}
    for name in spec.family_names():
        with suppress(ConfigError):
            members[name] = spec.family_member(name)
    return members


def _with_first(fields: JsonSchemaValue, key: str, form: JsonSchemaValue) -> JsonSchemaValue:
    return {**fields, "properties": {key: form, **fields.get("properties", {})}}
