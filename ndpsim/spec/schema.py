"""JSON schema of a spec, for editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ndpsim.spec.model import Spec
from ndpsim.spec.presets import preset_names


def schema(spec_type: type[Spec]) -> dict[str, Any]:
    """The schema of what may be written for a spec: values, or names of presets."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **spec_type.model_json_schema(schema_generator=_WithPresets),
    }


class _WithPresets(GenerateJsonSchema):
    """Accepts, for a spec with presets, a name, or a mapping that builds on a preset."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Titles would be title-cased names (``tRCD`` -> ``Trcd``); the name itself serves."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """A spec's fields, or the name of a preset."""
        fields = super().model_schema(schema)
        spec = schema["cls"]
        kind = spec.preset_kind if issubclass(spec, Spec) else None
        if kind is None:
            return fields
        names = {"type": "string", "enum": preset_names(kind)}
        inherits = {
            **fields,
            "properties": {"preset": names, **fields.get("properties", {})},
            "required": ["preset"],
        }
        return {"anyOf": [names, fields, inherits], "title": fields.get("title", kind)}
