"""Presets and overrides: a tree as written becomes the tree of all its values.

The types of a `Spec` say where a preset may be named. A later value wins: preset, then what is
written beside ``preset:``, then ``--set``.
"""

import os.path
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from ndpsim.errors import ConfigError
from ndpsim.spec.model import RelativePath, Spec
from ndpsim.spec.presets import load_preset_file, preset_names
from ndpsim.spec.tree import Location, Node, Origin, Step, dotted, node_from

MAX_INHERITANCE: Final = 16
"""Presets that may build on one another."""


@dataclass(frozen=True)
class Expected:
    """What a type annotation expects, as far as presets, merging and paths care."""

    specs: tuple[type[Spec], ...] = ()
    """Spec types of which one is expected."""
    item: Any = None
    """Annotation of the items of a homogeneous list or the values of a mapping."""
    items: tuple[Any, ...] = ()
    """Annotations of the items of a fixed-length tuple."""
    is_path: bool = False
    text: bool = False
    """Whether plain text may be meant as text, not as the name of a preset."""


def expected(annotation: Any) -> Expected:
    """Reads an annotation through Annotated, Optional, unions and containers."""
    origin = get_origin(annotation)
    args = get_args(annotation)
    if origin is Annotated:
        inner = expected(args[0])
        return replace(inner, is_path=any(isinstance(mark, RelativePath) for mark in args[1:]))
    if origin in (Union, types.UnionType):
        parts = [expected(arg) for arg in args]
        return Expected(
            specs=tuple(dict.fromkeys(spec for part in parts for spec in part.specs)),
            item=next((part.item for part in parts if part.item is not None), None),
            items=next((part.items for part in parts if part.items), ()),
            is_path=any(part.is_path for part in parts),
            text=any(part.text for part in parts),
        )
    if origin is Literal:
        return Expected(text=True)
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return Expected(items=args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Expected(item=args[1])
    if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
        return Expected(item=args[0])
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return Expected(specs=(annotation,))
    return Expected(text=annotation is str)


def field_annotation(spec: type[Spec], name: str) -> Any:
    """The annotation of a field with its marks, or None for an unknown field."""
    info = spec.model_fields.get(name)
    if info is None:
        return None
    annotation: Any = info.annotation
    for mark in info.metadata:
        if isinstance(mark, RelativePath):
            annotation = Annotated[annotation, mark]
    return annotation


def below(annotation: Any, node: Node | None, step: Step) -> Any:
    """The annotation one step below a node of this annotation."""
    want = expected(annotation)
    if want.specs:
        spec = choose(want.specs, node)
        found = field_annotation(spec, str(step)) if spec else None
        if found is not None:
            return found
    if want.items and isinstance(step, int):
        return want.items[step] if step < len(want.items) else None
    return want.item


def choose(specs: Sequence[type[Spec]], node: Node | None) -> type[Spec] | None:
    """The one spec of a union that a node is meant for, by its tag or else by its fields."""
    if len(specs) < 2 or node is None or not node.is_mapping:
        return _member(specs[0], node) if specs else None
    tagged = [spec for spec in specs if _tag_fits(spec, node)]
    candidates = tagged or list(specs)
    return max(candidates, key=lambda spec: len(spec.model_fields.keys() & node.value.keys()))


def _member(spec: type[Spec], node: Node | None) -> type[Spec]:
    """The member of a family that a node names."""
    tag = node.child(spec.family_tag) if node is not None and spec.family_tag else None
    if tag is None or not isinstance(tag.value, str):
        return spec
    try:
        return spec.family_member(tag.value)
    except ConfigError:
        return spec  # reported by validation, with its place


def tags_of(spec: type[Spec]) -> dict[str, tuple[Any, ...]]:
    """Fields that take one of a few literals, which tell the members of a union apart."""
    return {
        name: get_args(info.annotation)
        for name, info in spec.model_fields.items()
        if get_origin(info.annotation) is Literal
    }


def _tag_fits(spec: type[Spec], node: Node) -> bool:
    tags = {name: values for name, values in tags_of(spec).items() if name in node.value}
    return bool(tags) and all(node.value[name].value in values for name, values in tags.items())


@dataclass
class Expander:
    """Expands presets below annotated positions and notes which were used."""

    used: list[str] = field(default_factory=list)
    _stack: list[str] = field(default_factory=list)

    def expand(self, annotation: Any, node: Node, location: Location = ()) -> Node:
        """The tree with every named preset replaced by its values."""
        want = expected(annotation)
        if want.is_path and isinstance(node.value, str):
            return _relative_to_file(node)
        if want.specs and isinstance(node.value, str):
            tag = want.specs[0].family_tag
            if tag is not None:
                return Node({tag: _class_path(node)}, node.origin)
            return self._named(want, node, location)
        if want.specs and node.is_mapping:
            node = _with_class_path(want.specs[0].family_tag, node)
            name = node.child("preset")
            if name is not None and any(spec.preset_kind for spec in want.specs):
                rest = Node({k: n for k, n in node.value.items() if k != "preset"}, node.origin)
                base = self._preset(want.specs, name, (*location, "preset"))
                return self.merge(annotation, base, rest, location)
        return self._children(annotation, node, location)

    def merge(self, annotation: Any, base: Node, diff: Node, location: Location = ()) -> Node:
        """`base` (expanded) with the differences of `diff` (as written) on top."""
        if not (base.is_mapping and diff.is_mapping) or self._replaces(annotation, base, diff):
            return self.expand(annotation, diff, location)
        merged = dict(base.value)
        for key, node in diff.value.items():
            inner = below(annotation, base, key)
            below_here = (*location, key)
            start = merged.get(key) or self._default(annotation, base, key, node)
            merged[key] = (
                self.expand(inner, node, below_here)
                if start is None
                else self.merge(inner, start, node, below_here)
            )
        return Node(merged, diff.origin)

    def assign(self, annotation: Any, node: Node, path: Sequence[str], value: Node) -> Node:
        """The tree with one value set, which may itself be a mapping of differences."""
        return self._assign(annotation, node, list(path), value, ())

    def _assign(
        self, annotation: Any, node: Node, path: list[str], value: Node, location: Location
    ) -> Node:
        specs = expected(annotation).specs
        names = {"preset" for spec in specs if spec.preset_kind} | {s.family_tag for s in specs}
        if not path or (len(path) == 1 and path[0] in names):
            return self.merge(annotation, node, value, location)
        key, rest = path[0], path[1:]
        if node.is_list:
            items = list(node.value)
            index = _index(key, len(items), value.origin, location)
            inner = below(annotation, node, index)
            items[index] = self._assign(inner, items[index], rest, value, (*location, index))
            return Node(items, node.origin)
        if not node.is_mapping:
            raise ConfigError(
                value.origin.where,
                f"{dotted(location)}: a single value; it has no '{key}' below it",
            )
        inner = below(annotation, node, key)
        start = node.child(key)
        if start is None or (start.value is None and rest):
            wanted = Node({} if rest else value.value, value.origin)
            start = self._default(annotation, node, key, wanted) or Node(
                {} if rest else None, value.origin
            )
        child = self._assign(inner, start, rest, value, (*location, key))
        return Node({**node.value, key: child}, node.origin)

    def _named(self, want: Expected, node: Node, location: Location) -> Node:
        kinds = [spec.preset_kind for spec in want.specs if spec.preset_kind]
        if not kinds or (want.text and not any(node.value in preset_names(k) for k in kinds)):
            return node
        return self._preset(want.specs, node, location)

    def _preset(self, specs: Sequence[type[Spec]], name: Node, location: Location) -> Node:
        offered = [spec for spec in specs if spec.preset_kind]
        shown = f"{name.origin.where}: {dotted(location)}" if location else name.origin.where
        if not isinstance(name.value, str):
            raise ConfigError(shown, f"expected the name of a preset, got {name.plain()!r}")
        kinds = [str(spec.preset_kind) for spec in offered]
        kind = next((k for k in kinds if name.value in preset_names(k)), kinds[0])
        return self.preset(kind, name.value, [s for s in offered if s.preset_kind == kind], shown)

    def preset(
        self, kind: str, name: str, specs: Sequence[type[Spec]], where: str | None = None
    ) -> Node:
        """The expanded values of a preset, which describes one of `specs`."""
        preset = load_preset_file(kind, name, where)
        if preset.label in self._stack or len(self._stack) >= MAX_INHERITANCE:
            chain = " -> ".join([*self._stack, preset.label])
            raise ConfigError(preset.fields.origin.where, f"presets build on each other: {chain}")
        self.used.append(preset.label)
        self._stack.append(preset.label)
        tree = self.expand(reduce(or_, specs), preset.fields)
        self._stack.pop()
        if any("name" in spec.model_fields for spec in specs) and "name" not in preset.fields.value:
            label = Origin(preset.fields.origin.where, source=f"preset {preset.label}")
            tree = Node({**tree.value, "name": Node(name, label)}, tree.origin)
        return tree

    def _children(self, annotation: Any, node: Node, location: Location) -> Node:
        if node.is_mapping:
            fields = {}
            for key, child in node.value.items():
                inner = below(annotation, node, key)
                here = (*location, key)
                start = self._default(annotation, node, key, child)
                fields[key] = (
                    self.expand(inner, child, here)
                    if start is None
                    else self.merge(inner, start, child, here)
                )
            return Node(fields, node.origin)
        if node.is_list:
            items = [
                self.expand(below(annotation, node, i), item, (*location, i))
                for i, item in enumerate(node.value)
            ]
            return Node(items, node.origin)
        return node

    @staticmethod
    def _default(annotation: Any, parent: Node, key: str, diff: Node) -> Node | None:
        """A spec that a field has by default: differences written for the field build on it."""
        spec = choose(expected(annotation).specs, parent)
        info = spec.model_fields.get(key) if spec else None
        if info is None or not diff.is_mapping or info.is_required():
            return None
        value = info.get_default(call_default_factory=True)
        if not isinstance(value, BaseModel):
            return None
        return node_from(value, Origin("default", source="default"))

    @staticmethod
    def _replaces(annotation: Any, base: Node, diff: Node) -> bool:
        """Whether differences start anew: another preset, or another member of a union."""
        specs = expected(annotation).specs
        if "preset" in diff.value and any(spec.preset_kind for spec in specs):
            return True
        if any(spec.family_tag in diff.value for spec in specs if spec.family_tag):
            return True
        tagged = [spec for spec in specs if _tag_fits(spec, diff)]
        return len(specs) > 1 and bool(tagged) and choose(specs, base) not in tagged


def _relative_to_file(node: Node) -> Node:
    path = Path(node.value)
    if not node.value or path.is_absolute():
        return node
    joined = os.path.normpath(node.origin.base / path)
    return Node(Path(joined).as_posix(), node.origin)


def _with_class_path(tag: str | None, node: Node) -> Node:
    """A mapping whose tag may be the path of a class."""
    if tag is None or tag not in node.value:
        return node
    return Node({**node.value, tag: _class_path(node.value[tag])}, node.origin)


def _class_path(node: Node) -> Node:
    """A member's name as it is; ``PATH.py:Class`` relative to the file it is written in."""
    path, _, name = str(node.value).rpartition(":")
    if not isinstance(node.value, str) or not path.endswith(".py"):
        return node
    return Node(f"{_relative_to_file(Node(path, node.origin)).value}:{name}", node.origin)


def _index(key: str, length: int, origin: Origin, location: Location) -> int:
    if not key.isdecimal() or int(key) >= length:
        raise ConfigError(
            origin.where, f"{dotted(location)}: no element '{key}'; it has {length}, from 0"
        )
    return int(key)
