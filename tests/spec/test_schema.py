import json
import re

import pytest

from ndpsim.spec import schema

from .specs import Run

pytestmark = pytest.mark.usefixtures("made_up_presets")


@pytest.fixture
def definitions():
    return schema(Run)["$defs"]


def test_a_spec_with_presets_may_be_a_name_its_fields_or_differences(definitions):
    name, fields, differences = definitions["Gpu"]["anyOf"]
    assert name == {"type": "string", "enum": ["large", "small"]}
    assert fields["required"] == ["sms", "memory"]
    assert "preset" not in fields["properties"]
    assert differences["required"] == ["preset"]
    assert differences["properties"]["preset"] == name


def test_a_family_may_be_a_name_or_a_member_with_its_fields(definitions):
    name, *members, in_a_file, tagged = definitions["Keep"]["anyOf"]
    assert name == {"type": "string", "enum": ["nothing", "recent"]}
    assert [member["$ref"] for member in members] == ["#/$defs/Nothing", "#/$defs/Recent"]
    assert re.search(in_a_file["pattern"], "some/rules.py:Mine")
    assert tagged["properties"]["policy"] == in_a_file
    assert definitions["Recent"]["required"] == ["policy"]
    assert definitions["Recent"]["properties"]["policy"] == {"const": "recent"}
    assert "capacity" in definitions["Recent"]["properties"]


def test_names_keep_their_spelling_and_docstrings_are_descriptions(definitions):
    sms = definitions["Gpu"]["anyOf"][1]["properties"]["sms"]
    assert "title" not in sms
    assert sms["description"] == "Streaming multiprocessors."


def test_every_reference_is_defined():
    document = schema(Run)
    text = json.dumps(document)
    referred = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert referred <= document["$defs"].keys()
    assert document["$schema"].startswith("https://json-schema.org/")
