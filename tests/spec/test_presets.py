import pytest

from ndpsim.errors import ConfigError
from ndpsim.spec import describe, load_preset, preset_about, preset_names
from ndpsim.spec.presets import is_number, load_preset_file

from .specs import Gpu, System

pytestmark = pytest.mark.usefixtures("made_up_presets")


def test_presets_are_listed_by_kind():
    assert preset_names("gpu") == ["large", "small"]
    assert preset_names("cpu") == []
    assert preset_about("gpu", "small") == "a small GPU"
    with pytest.raises(ConfigError, match=r"unknown kind 'gpus'; known: .*; did you mean 'gpu'"):
        preset_names("gpus")


def test_a_preset_is_shown_with_the_source_of_each_value():
    rows = {row.path: (row.value, row.source) for row in describe("gpu", "large", Gpu)}
    assert rows == {
        "name": ("large", "preset gpu/large"),
        "sms": ("8", "preset gpu/small: Small data sheet, page 3"),
        "memory.size": ("80 GiB", "Large report, table 1"),
        "memory.rate": ("100 GB/s", "preset gpu/small: assumed: as its sibling"),
        "latencies": ("[10 ns, 20 ns]", "preset gpu/small: Small data sheet, page 3"),
    }
    assert describe("system", "edge", System)[-1].value == "null"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sms: 1\n", "presets/gpu/bad.yaml:1: about: expected one line of text"),
        ("about: 3\n", "presets/gpu/bad.yaml:1: about: expected one line of text"),
        ("about: x\nsources: y\n", "presets/gpu/bad.yaml:2: sources: expected 'key: document'"),
        (
            "about: x\nsources: {sheet: s}\nsms: {value: 1, from: shet}\n",
            "presets/gpu/bad.yaml:3: sms: unknown source 'shet'; known: sheet, derived, assumed; "
            "did you mean 'sheet'?",
        ),
        (
            "about: x\nmemory:\n  from: assumed\n  size: 1 B\n",
            "presets/gpu/bad.yaml:2: memory: 'from: assumed' needs a 'why'",
        ),
        (
            "about: x\nsms: {value: 1, why: y}\n",
            "presets/gpu/bad.yaml:2: sms: 'why' without 'from'",
        ),
        (
            "about: x\nsms: {value: 1, from: derived, why: y, sm: 2}\n",
            "presets/gpu/bad.yaml:2: sms.sm: a field beside 'value'; only 'from' and 'why' may be",
        ),
        (
            "about: x\npreset: small\nsmss: 1\n",
            "presets/gpu/bad.yaml:3: smss: unknown field; did you mean 'sms'?",
        ),
        (
            "about: x\npreset: bad\n",
            "presets/gpu/bad.yaml:1: presets build on each other: gpu/bad -> gpu/bad",
        ),
        (
            "about: x\npreset: smal\n",
            "presets/gpu/bad.yaml:2: preset: unknown gpu preset 'smal'; known: bad, large, small; "
            "did you mean 'small'?",
        ),
        ("", "presets/gpu/bad.yaml: empty; expected a mapping of fields"),
    ],
)
def test_a_faulty_preset_is_one_clear_line(text, message, add_preset):
    add_preset("gpu", "bad", text)
    with pytest.raises(ConfigError) as caught:
        load_preset("gpu", "bad", Gpu)
    assert str(caught.value) == message


def test_a_number_without_a_source_is_found(add_preset):
    text = "about: x\nsms: 3\nname: y\nlatencies: [1 ns, {value: 2 ns, from: derived, why: z}]\n"
    add_preset("gpu", "bad", text)
    assert load_preset_file("gpu", "bad").unsourced == (("sms",), ("latencies", 0))


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, True), (0.5, True), ("13.75 ns", True), ("-1 B", True), (True, False), ("fp16", False)],
)
def test_numbers_are_told_from_names(value, number):
    assert is_number(value) is number
