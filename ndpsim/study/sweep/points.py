"""From values at dotted paths to the configuration file of a point."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ndpsim.errors import ConfigError
from ndpsim.experiment import RunSpec
from ndpsim.spec.expand import Expander, _relative_to_file, below, choose, expected
from ndpsim.spec.tree import Node, Origin, node_from

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[-./][A-Za-z0-9_]+)*\Z")
_WORDS: Final = frozenset({"true", "false", "null"})


@dataclass(frozen=True)
class Base:
    """The configuration that points differ from."""

    node: Node
    """As written."""
    folder: Path
    """What relative paths in values are relative to."""

    @cached_property
    def _tree(self) -> Node:
        return Expander().expand(RunSpec, self.node)

    @cached_property
    def _written(self) -> Any:
        return _absolute(RunSpec, self.node)

    def document(self, values: Mapping[str, Any], where: str = "sweep") -> dict[str, Any]:
        """The configuration with `values` set in their order, as ``--set`` would.

        It stands on its own: every path in it is absolute.

        Raises
        ------
        ConfigError
            A path does not exist, or a preset is unknown.
        """
        written, tree = self._written, self._tree
        for path, value in values.items():
            origin = Origin(f"{where}: {path}", self.folder, override=True)
            steps, node = _steps(path, origin.where), node_from(value, origin)
            changed = Expander().assign(RunSpec, tree, steps, node)
            written = _put(RunSpec, written, tree, steps, node)
            tree = changed
        return dict(written)


def _steps(path: str, where: str) -> list[str]:
    steps = path.split(".")
    if not all(step and step == step.strip() for step in steps):
        raise ConfigError(where, "not a dotted path, such as workload.batch")
    return steps


def _absolute(annotation: Any, node: Node) -> Any:
    """A tree as plain data, with relative paths made absolute."""
    if node.is_mapping:
        return {k: _absolute(below(annotation, node, k), n) for k, n in node.value.items()}
    if node.is_list:
        return [_absolute(below(annotation, node, i), n) for i, n in enumerate(node.value)]
    if expected(annotation).is_path and isinstance(node.value, str):
        return _relative_to_file(node).value
    return node.value


def _put(annotation: Any, written: Any, tree: Node | None, steps: list[str], value: Node) -> Any:
    """What is written, with one value set; `tree` is what it expands to."""
    specs = expected(annotation).specs
    names = {"preset" for spec in specs if spec.preset_kind} | {s.family_tag for s in specs}
    if not steps or (len(steps) == 1 and steps[0] in names and not value.is_mapping):
        return _merged(annotation, written, tree, value)
    key, rest = steps[0], steps[1:]
    if tree is not None and tree.is_list:
        items = list(written) if isinstance(written, list) else _absolute(annotation, tree)
        inner = below(annotation, tree, int(key))
        items[int(key)] = _put(inner, items[int(key)], tree.child(int(key)), rest, value)
        return items
    fields = _fields(annotation, written, tree)
    child = tree.child(key) if tree is not None else None
    inner = below(annotation, tree, key)
    return {**fields, key: _put(inner, fields.get(key), child, rest, value)}


def _merged(annotation: Any, written: Any, tree: Node | None, value: Node) -> Any:
    """A value in its place; a mapping of differences goes on top of what is there."""
    mapping = value.is_mapping and tree is not None and tree.is_mapping
    if tree is None or not mapping or Expander._replaces(annotation, tree, value):
        return _absolute(annotation, value)
    for key, node in value.value.items():
        written = _put(annotation, written, tree, [key], node)
    return written


def _fields(annotation: Any, written: Any, tree: Node | None) -> dict[str, Any]:
    """What is written, as a mapping that further fields fit into."""
    if isinstance(written, dict):
        return dict(written)
    if isinstance(written, str) and tree is not None and tree.is_mapping:
        spec = choose(expected(annotation).specs, tree)
        bases = expected(annotation).specs if spec is None else (spec,)
        tag = next((base.family_tag for base in bases if base.family_tag), "preset")
        return {tag: written}
    return {}


def dump(document: Mapping[str, Any], head: str = "") -> str:
    """A configuration as YAML text under comment lines."""
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    return "\n".join([*lines, *_block(document, 0)]) + "\n"


def _block(mapping: Mapping[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in mapping.items():
        name = f"{'  ' * depth}{_scalar(str(key))}:"
        if isinstance(value, Mapping) and value:
            lines += [name, *_block(value, depth + 1)]
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            lines += [name, *(f"{'  ' * (depth + 1)}- {_flow(item)}" for item in value)]
        else:
            lines.append(f"{name} {_flow(value)}")
    return lines


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_scalar(str(k))}: {_flow(v)}" for k, v in value.items())
        return "{" + inside + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A scalar that strict YAML reads back as itself."""
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    """A character that YAML takes for a line break, or not at all."""
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plain_text(value: Any) -> Any:
    """A value as a cell of a table: scalars as they are, anything else as YAML in one line."""
    return value if value is None or isinstance(value, bool | int | float | str) else _flow(value)
