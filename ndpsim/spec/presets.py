"""Presets: named values in YAML files, each number with its source.

A preset file is a mapping of fields with a few reserved keys: ``about`` (one line), ``sources``
(short key: document), and, on any mapping, ``from`` (the source of every value below) and ``why``
(the reason, where that source is ``derived`` or ``assumed``). A single value names its own source
when written as ``{value: 350 ns, from: assumed, why: "8 Gb density"}``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from ndpsim.errors import ConfigError, nearest, unknown
from ndpsim.spec.tree import Location, Node, Origin, dotted
from ndpsim.spec.yaml import read_mapping

KINDS: Final = (
    "dram",
    "dram/standard",
    "gpu",
    "ndp",
    "cpu",
    "link",
    "model",
    "format",
    "scheduler",
    "system",
)
"""What presets exist for; one folder each."""

_REASONS: Final = ("derived", "assumed")
_NUMBER: Final = re.compile(r"[-+]?\.?\d")


@dataclass(frozen=True)
class Preset:
    """A preset file: fields as written there, without the reserved keys."""

    kind: str
    name: str
    about: str
    sources: dict[str, str]
    fields: Node
    unsourced: tuple[Location, ...] = ()
    """Numbers that name no source; shipped presets have none."""

    @property
    def label(self) -> str:
        """``kind/name``."""
        return f"{self.kind}/{self.name}"


def preset_names(kind: str) -> list[str]:
    """Names of the shipped presets of a kind, sorted."""
    return sorted(_files(kind))


def load_preset_file(kind: str, name: str, where: str | None = None) -> Preset:
    """The preset file of that name; `where` opens the error line if there is none."""
    known = _files(kind)
    if name not in known:
        raise unknown(where or kind, f"{kind} preset", name, known)
    return _read(kind, name)


@cache
def _files(kind: str) -> dict[str, str]:
    if kind not in KINDS:
        raise unknown("preset", "kind", kind, KINDS)
    folder = files("ndpsim") / "presets" / kind
    if not folder.is_dir():
        return {}
    names = (entry.name for entry in folder.iterdir())
    return {name.removesuffix(".yaml"): name for name in names if name.endswith(".yaml")}


@cache
def _read(kind: str, name: str) -> Preset:
    file = files("ndpsim") / "presets" / kind / _files(kind)[name]
    with as_file(file) as path:
        return read_preset(path, kind, name)


def read_preset(path: Path, kind: str, name: str) -> Preset:
    """The preset in a file of the layout described above."""
    shown = f"presets/{kind}/{path.name}"
    root = read_mapping(path, shown)
    about = _text(root, "about", root.origin.where)
    sources_node = root.child("sources")
    sources: dict[str, str] = {}
    if sources_node is not None:
        if not sources_node.is_mapping:
            raise ConfigError(sources_node.origin.where, "sources: expected 'key: document'")
        sources = {str(key): str(node.value) for key, node in sources_node.children()}
    body = {k: n for k, n in root.value.items() if k not in ("about", "sources")}
    reader = _Reader(f"preset {kind}/{name}", sources)
    fields = reader.read(Node(body, root.origin), (), None)
    return Preset(kind, name, about, sources, fields, tuple(reader.unsourced))


def _text(node: Node, key: str, where: str) -> str:
    child = node.child(key)
    if child is None or not isinstance(child.value, str) or not child.value.strip():
        raise ConfigError(
            child.origin.where if child else where, f"{key}: expected one line of text"
        )
    return " ".join(child.value.split())


@dataclass
class _Reader:
    """Strips the reserved keys of a preset and writes the sources into the origins."""

    label: str
    sources: dict[str, str]
    unsourced: list[Location] = field(default_factory=list)

    def read(self, node: Node, location: Location, source: Origin | None) -> Node:
        if not node.is_mapping:
            return self._leaf(node, location, source)
        if "from" in node.value or "why" in node.value:
            source = self._source(node, location)
        if "value" in node.value:
            extra = sorted(set(node.value) - {"value", "from", "why"})
            if extra:
                raise ConfigError(
                    node.value[extra[0]].origin.where,
                    f"{dotted((*location, extra[0]))}: a field beside 'value'; "
                    "only 'from' and 'why' may be",
                )
            return self.read(node.value["value"], location, source)
        fields = {
            key: self.read(child, (*location, key), source)
            for key, child in node.value.items()
            if key not in ("from", "why")
        }
        return Node(fields, replace(node.origin, source=self.label))

    def _leaf(self, node: Node, location: Location, source: Origin | None) -> Node:
        if node.is_list:
            items = [self.read(item, (*location, i), source) for i, item in node.children()]
            return Node(items, self._sourced(node.origin, source))
        if source is None and is_number(node.value):
            self.unsourced.append(location)
        return Node(node.value, self._sourced(node.origin, source))

    def _sourced(self, origin: Origin, source: Origin | None) -> Origin:
        if source is None:
            return replace(origin, source=self.label)
        return replace(origin, source=source.source, assumed=source.assumed)

    def _source(self, node: Node, location: Location) -> Origin:
        where = node.origin.where
        path = f"{dotted(location)}: " if location else ""
        key = node.value["from"].value if "from" in node.value else None
        why = node.value["why"].value if "why" in node.value else None
        if key is None:
            raise ConfigError(where, f"{path}'why' without 'from'")
        if key in _REASONS:
            if not isinstance(why, str) or not why:
                raise ConfigError(where, f"{path}'from: {key}' needs a 'why'")
            return Origin(where, source=f"{self.label}: {key}: {why}", assumed=key == "assumed")
        if key not in self.sources:
            known = [*self.sources, *_REASONS]
            raise ConfigError(
                where,
                f"{path}unknown source '{key}'; known: {', '.join(known)}"
                f"{nearest(str(key), known)}",
            )
        reason = f" ({why})" if why else ""
        return Origin(where, source=f"{self.label}: {self.sources[str(key)]}{reason}")


def is_number(value: object) -> bool:
    """Whether a value of a preset is a number or a quantity, and so needs a source."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (
        isinstance(value, str) and _NUMBER.match(value) is not None
    )


def all_presets() -> Iterator[Preset]:
    """Every shipped preset."""
    for kind in KINDS:
        for name in preset_names(kind):
            yield load_preset_file(kind, name)
