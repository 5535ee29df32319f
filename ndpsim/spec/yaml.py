"""Strict YAML: 1.2 core scalars, no duplicate keys, and the line of every value.

PyYAML reads YAML 1.1, where ``1e9`` is text, ``no`` is false, ``010`` is eight and the last of two
equal keys wins silently. Here only the 1.2 core rules apply, without octal.
"""

import re
from pathlib import Path
from typing import Any, Final

import yaml

from ndpsim.errors import ConfigError
from ndpsim.spec.tree import Node, Origin

MAX_NODES: Final = 100_000
"""Values a document may hold once its aliases are expanded."""
MAX_DEPTH: Final = 64
"""Levels a document may nest."""
MAX_BYTES: Final = 16 * 2**20
"""Size of a file that is still taken for a configuration."""

_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = {
    "null": (re.compile(r"(?:~|null|Null|NULL)?\Z"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    "int": (re.compile(r"(?:[-+]?[0-9]+|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")),
    "float": (
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalar rules of YAML 1.2 core."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own declaration


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)


def read_yaml(path: Path, name: str | None = None) -> Node:
    """The tree of a YAML file; `name` replaces its path in error lines."""
    name = name or str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(name, f"larger than {MAX_BYTES >> 20} MiB; not a YAML file")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(name, "no such file") from None
    except IsADirectoryError:
        raise ConfigError(name, "is a directory; expected a YAML file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(name, f"cannot be read ({reason or error})") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(name, "not a text file; expected YAML in UTF-8") from None
    return parse_yaml(text, name, path.parent)


def read_mapping(path: Path, name: str | None = None) -> Node:
    """The tree of a YAML file whose top level is a mapping of fields."""
    node = read_yaml(path, name)
    if node.value is None:
        raise ConfigError(name or str(path), "empty; expected a mapping of fields")
    if not node.is_mapping:
        got = "a list" if node.is_list else f"'{str(node.value)[:40]}'"
        raise ConfigError(node.origin.where, f"expected a mapping of fields, got {got}")
    return node


def parse_yaml(text: str, name: str, base: Path = Path()) -> Node:
    """The tree of a YAML text; `name` opens error lines, its paths are relative to `base`."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError:
        raise ConfigError(name, "not a text file; it holds control characters") from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, name) from None
    except RecursionError:
        raise ConfigError(name, f"nested deeper than {MAX_DEPTH} levels") from None
    if root is None:
        return Node(None, Origin(f"{name}:1", base))
    return _Builder(name, base).build(root, 0)


def parse_value(text: str, origin: Origin) -> Node:
    """One YAML value given outside a file, such as on the command line."""
    try:
        return _with_origin(parse_yaml(text, origin.where), origin)
    except ConfigError as error:
        raise ConfigError(origin.where, error.args[1]) from None


def _with_origin(node: Node, origin: Origin) -> Node:
    if isinstance(node.value, dict):
        return Node({key: _with_origin(n, origin) for key, n in node.value.items()}, origin)
    if isinstance(node.value, list):
        return Node([_with_origin(n, origin) for n in node.value], origin)
    return Node(node.value, origin)


def _syntax_error(error: yaml.MarkedYAMLError, name: str) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    problem = (error.problem or error.context or "malformed").replace("\n", " ")
    if "'\\t'" in problem:
        problem = "a tab; indent with spaces"
    where = f"{name}:{mark.line + 1}" if mark else name
    return ConfigError(where, f"not valid YAML: {problem}")


class _Builder:
    """Turns PyYAML's nodes into ours, refusing what the strict rules forbid."""

    def __init__(self, name: str, base: Path) -> None:
        self._name = name
        self._base = base
        self._n_nodes = 0

    def build(self, node: yaml.Node, depth: int) -> Node:
        line = node.start_mark.line + 1
        self._n_nodes += 1
        if self._n_nodes > MAX_NODES:
            raise self._error(line, f"more than {MAX_NODES} values, aliases expanded")
        if depth > MAX_DEPTH:
            raise self._error(line, f"nested deeper than {MAX_DEPTH} levels")
        value = self._value(node, line, depth)
        return Node(value, self._origin(line))

    def _value(self, node: yaml.Node, line: int, depth: int) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.build(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node.value, kind, line)
        raise self._error(line, f"the tag '{node.tag}' is not allowed")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        mapping: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, "a key must be a plain name")
            key = key_node.value
            if key in mapping:
                raise self._error(line, f"duplicate key '{key}'; first on line {lines[key]}")
            child = self.build(value_node, depth + 1)
            mapping[key] = Node(child.value, self._origin(line))
            lines[key] = line
        return mapping

    def _scalar(self, text: str, kind: str, line: int) -> Any:
        pattern = _SCALARS.get(kind)
        if kind == "str":
            return text
        if pattern is None or not pattern[0].match(text):
            raise self._error(line, f"'{text[:40]}' cannot be read as '{kind}'")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text, 16) if text.startswith("0x") else int(text)
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise self._error(line, "a number with too many digits") from None

    def _origin(self, line: int) -> Origin:
        return Origin(f"{self._name}:{line}", self._base)

    def _error(self, line: int, what: str) -> ConfigError:
        return ConfigError(f"{self._name}:{line}", what)
