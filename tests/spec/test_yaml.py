import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import ConfigError
from ndpsim.spec import yaml as strict
from ndpsim.spec.tree import Origin
from ndpsim.spec.yaml import parse_value, parse_yaml, read_mapping


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("1.0e9", 1e9),
        ("12e-12", 12e-12),
        (".5", 0.5),
        ("5.", 5.0),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("010", 10),
        ("0o17", "0o17"),
        ("0x1F", 31),
        ("-0", 0),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("~", None),
        ("null", None),
        ("", None),
        ("-.inf", -math.inf),
        ("'1'", "1"),
        ("13.75 ns", "13.75 ns"),
        ("1e", "1e"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_yaml_1_2_core(text, value):
    node = parse_yaml(f"a: {text}", "x").child("a")
    assert node.value == value
    assert type(node.value) is type(value)


def test_not_a_number_is_read():
    assert math.isnan(parse_yaml("[.nan]", "x").plain()[0])


def test_every_value_knows_its_line():
    root = parse_yaml("a:\n  b: 1\n  c:\n    - x\n    -\n      d: 2\n", "f.yaml")
    assert root.origin.where == "f.yaml:1"
    assert root.child("a").child("c").origin.where == "f.yaml:3"
    assert root.child("a").child("c").child(0).origin.where == "f.yaml:4"
    assert root.child("a").child("c").child(1).child("d").origin.where == "f.yaml:6"


def test_an_alias_is_expanded():
    assert parse_yaml("a: &x {b: 1}\nc: *x", "x").plain() == {"a": {"b": 1}, "c": {"b": 1}}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)
)

FAULTS = {
    "a: 1\nb: 2\na: 3\n": "f.yaml:3: duplicate key 'a'; first on line 1",
    "a:\n  b: 1\n  b: 1\n": "f.yaml:3: duplicate key 'b'; first on line 2",
    "a: 1\n\tb: 2\n": "f.yaml:2: not valid YAML: a tab; indent with spaces",
    "a: [1, 2\n": "f.yaml:2: not valid YAML: expected ',' or ']', but got '<stream end>'",
    "a: b: c\n": "f.yaml:1: not valid YAML: mapping values are not allowed here",
    "a: 1\n---\nb: 2\n": "f.yaml:2: not valid YAML: but found another document",
    "a: *b\n": "f.yaml:1: not valid YAML: found undefined alias 'b'",
    "a: !!python/object:os.system x\n": "f.yaml:1: 'x' cannot be read as 'python/object:os.system'",
    "a: !mine {b: 1}\n": "f.yaml:1: the tag '!mine' is not allowed",
    "a: !!int x\n": "f.yaml:1: 'x' cannot be read as 'int'",
    "? [a, b]\n: 1\n": "f.yaml:1: a key must be a plain name",
    "a: &x [*x]\n": "f.yaml:1: nested deeper than 64 levels",
    "a: " + "[" * 5000 + "]" * 5000: "f.yaml: nested deeper than 64 levels",
    "a: " + "9" * 5000: "f.yaml:1: a number with too many digits",
    BOMB: "f.yaml:1: more than 100000 values, aliases expanded",
    "": "f.yaml: empty; expected a mapping of fields",
    "# only a comment\n": "f.yaml: empty; expected a mapping of fields",
    "- a\n": "f.yaml:1: expected a mapping of fields, got a list",
    "hello\n": "f.yaml:1: expected a mapping of fields, got 'hello'",
}


@pytest.mark.parametrize(("text", "message"), FAULTS.items(), ids=range(len(FAULTS)))
def test_a_faulty_file_is_one_clear_line(text, message, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_mapping(path, "f.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize("data", [b"PAR1\x00\xff\xfe", b"a: \x00\x01", b"\xff\xfea\x00"])
def test_a_binary_file_is_refused(data, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"^f\.yaml: not a text file"):
        read_mapping(path, "f.yaml")


def test_a_missing_file_a_directory_and_a_huge_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"f\.yaml: no such file"):
        read_mapping(tmp_path / "f.yaml")
    with pytest.raises(ConfigError, match="is a directory; expected a YAML file"):
        read_mapping(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_mapping(tmp_path / "a\0b")
    (tmp_path / "f.yaml").write_text("a: 1")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_mapping(tmp_path / "f.yaml" / "g.yaml")
    monkeypatch.setattr(strict, "MAX_BYTES", 3)
    with pytest.raises(ConfigError, match="larger than"):
        read_mapping(tmp_path / "f.yaml")


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "f.yaml").write_text("a: 1", encoding="utf-8-sig")
    assert read_mapping(tmp_path / "f.yaml").plain() == {"a": 1}


def test_a_value_outside_a_file_carries_its_origin():
    node = parse_value("{a: [1, 2 MiB]}", Origin("--set x={...}"))
    assert node.plain() == {"a": [1, "2 MiB"]}
    assert node.child("a").child(1).origin.where == "--set x={...}"
    with pytest.raises(ConfigError, match=r"^--set x=: not valid YAML"):
        parse_value("[1", Origin("--set x="))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(text):
    message = "f.yaml"
    try:
        parse_yaml(text, "f.yaml").plain()
    except ConfigError as error:
        message = str(error)
    assert message.startswith("f.yaml")
    assert "\n" not in message
