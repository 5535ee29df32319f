"""From a configuration as written to a validated spec that knows where each value came from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from ndpsim.errors import ConfigError
from ndpsim.spec.expand import Expander
from ndpsim.spec.faults import MAX_SHOWN, explain
from ndpsim.spec.model import Spec
from ndpsim.spec.presets import load_preset_file
from ndpsim.spec.tree import Location, Node, Origin, dotted, node_from
from ndpsim.spec.yaml import parse_value, read_mapping

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class Resolved(Generic[S]):
    """A validated spec and the story of its values."""

    spec: S
    values: dict[str, Any]
    """Every value, defaults included, as plain JSON; quantities are text with units."""
    provenance: dict[str, str]
    """Dotted path of each value -> where it came from."""
    presets: tuple[str, ...]
    """Presets used, as ``kind/name``, in order of use."""
    assumed: tuple[str, ...]
    """Dotted paths of values that a preset marks as assumptions."""


def resolve(
    spec_type: type[S],
    source: Path | str | Mapping[str, Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    base_dir: Path | None = None,
) -> Resolved[S]:
    """The spec that a configuration and overrides describe.

    Parameters
    ----------
    source
        A YAML file, or the same fields as a mapping.
    overrides
        ``a.b=value`` texts (values are YAML), or a mapping of dotted paths to values. They win over
        the configuration, which wins over presets.
    base_dir
        What relative paths in a mapping and in overrides are relative to; None: the working
        directory.

    Raises
    ------
    ConfigError
        Anything that cannot be used: one line with file, line and dotted path.
    """
    base = base_dir or Path()
    expander = Expander()
    tree = expander.expand(spec_type, _read(source, base))
    for path, value in _overrides(overrides, base):
        tree = expander.assign(spec_type, tree, path, value)
    return _validated(spec_type, tree, expander.used)


def resolve_preset(kind: str, name: str, spec_type: type[S]) -> Resolved[S]:
    """A preset alone."""
    expander = Expander()
    return _validated(spec_type, expander.preset(kind, name, [spec_type]), expander.used)


def load_preset(kind: str, name: str, spec_type: type[S]) -> S:
    """The spec that a preset describes.

    Raises
    ------
    UnknownName
        No such preset; the message lists the known ones and the nearest.
    ConfigError
        The preset file does not fit the spec.
    """
    return resolve_preset(kind, name, spec_type).spec


@dataclass(frozen=True)
class Row:
    """One value of a preset as shown to a reader."""

    path: str
    value: str
    source: str


def describe(kind: str, name: str, spec_type: type[Spec]) -> list[Row]:
    """Every resolved value of a preset and where it came from."""
    resolved = resolve_preset(kind, name, spec_type)
    label = f"preset {kind}/{name}: "
    return [
        Row(dotted(path), _text(value), resolved.provenance[dotted(path)].removeprefix(label))
        for path, value in leaves(resolved.values)
    ]


def preset_about(kind: str, name: str) -> str:
    """The one line that says what a preset is."""
    return load_preset_file(kind, name).about


def preset_sources(kind: str, name: str) -> list[str]:
    """The documents that a preset cites."""
    return list(load_preset_file(kind, name).sources.values())


def leaves(value: Any, path: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Locations and values of plain data; a list of scalars, or anything empty, is one value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple) and any(isinstance(i, Mapping | list) for i in value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def _read(source: Path | str | Mapping[str, Any], base: Path) -> Node:
    if isinstance(source, Mapping):
        return node_from(source, Origin("config", base))
    return read_mapping(Path(source))


def parse_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """The values of ``a.b=value`` texts by dotted path.

    Raises
    ------
    ConfigError
        A text is not of that form, or its value is not YAML.
    """
    return {dotted(steps): node.plain() for steps, node in _overrides(texts, Path())}


def _overrides(
    overrides: Sequence[str] | Mapping[str, Any], base: Path
) -> Iterator[tuple[list[str], Node]]:
    if isinstance(overrides, Mapping):
        for path, value in overrides.items():
            where = f"set '{path}'"
            yield _steps(path, where), node_from(value, Origin(where, base, override=True))
        return
    if isinstance(overrides, str):
        raise TypeError("overrides is a sequence of 'a.b=c' texts, not one text")
    for text in overrides:
        shown = " ".join(text.split())
        where = f"--set {shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 3] + '...'}"
        path, separator, value_text = text.partition("=")
        if not separator or not path.strip() or not value_text.strip():
            raise ConfigError(where, "expected KEY=VALUE, such as workload.batch=4")
        yield (
            _steps(path.strip(), where),
            parse_value(value_text, Origin(where, base, override=True)),
        )


def _steps(path: str, where: str) -> list[str]:
    steps = path.split(".")
    if not all(step and step == step.strip() for step in steps):
        raise ConfigError(where, f"'{path}' is not a dotted path, such as workload.batch")
    return steps


def _validated(spec_type: type[S], tree: Node, presets: Sequence[str]) -> Resolved[S]:
    try:
        spec = spec_type.model_validate(tree.plain())
    except ValidationError as error:
        raise explain(spec_type, tree, error) from None
    values = spec.model_dump(mode="json")
    found = {dotted(path): _origin_at(tree, path) for path, _ in leaves(values)}
    return Resolved(
        spec=spec,
        values=values,
        provenance={path: origin.text for path, origin in found.items()},
        presets=tuple(dict.fromkeys(presets)),
        assumed=tuple(path for path, origin in found.items() if origin.assumed),
    )


_DEFAULT = Origin("default")


def _origin_at(tree: Node, path: Location) -> Origin:
    node = tree
    for step in path:
        child = node.child(step)
        if child is None:
            return _DEFAULT if node.is_mapping else node.origin
        node = child
    return node.origin


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)
