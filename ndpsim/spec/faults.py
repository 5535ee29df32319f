"""Pydantic's faults as one line: where, what, expected, nearest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ndpsim.errors import ConfigError, nearest
from ndpsim.spec.expand import below, choose, expected, tags_of
from ndpsim.spec.model import Spec
from ndpsim.spec.presets import preset_names
from ndpsim.spec.tree import Location, Node, Origin, Step, dotted

MAX_SHOWN = 60
"""Characters of a value that an error line repeats."""


@dataclass(frozen=True)
class _Place:
    """Where in the tree a fault of pydantic lies."""

    location: Location
    node: Node
    """The node at `location`, or the nearest one above it."""
    annotation: Any
    parent: type[Spec] | None
    """The spec that should know the last step of `location`."""
    union: tuple[type[Spec], ...] = ()
    """All specs that the parent might have been."""


def explain(spec_type: type[Spec], tree: Node, error: ValidationError) -> ConfigError:
    """The first fault as a `ConfigError`; others are counted.

    What is missing comes last: often it is there under a misspelt name.
    """
    faults = [
        (place, fault)
        for fault in _flat(error)
        if not _is_beside_the_point(fault)
        if (place := _place(spec_type, tree, fault["loc"])) is not None
    ]
    if not faults:
        place = _Place((), tree, spec_type, spec_type)
        faults = [(place, next(_flat(error)))]
    place, fault = min(faults, key=lambda found: found[1]["type"] == "missing")
    path = dotted(place.location)
    what = _message(place, fault)
    more = len({p.location for p, _ in faults} - {place.location})
    return ConfigError(
        (_blame(place.node) if fault["type"] == "value_error" else place.node.origin).where,
        (f"{path}: " if path else "") + what + (f" (and {more} more)" if more else ""),
    )


def _is_beside_the_point(fault: Mapping[str, Any]) -> bool:
    """The plain member of a union refuses a mapping that is meant for another member."""
    member = str(fault["loc"][-1]) if fault["loc"] else ""
    return member.startswith("function-plain[") and isinstance(fault["input"], Mapping)


def _flat(error: ValidationError) -> Iterator[dict[str, Any]]:
    """All faults, with those that a validator of one field found inside it."""
    for fault in error.errors(include_url=False):
        inner = fault.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            for nested in _flat(inner):
                yield {**nested, "loc": (*fault["loc"], *nested["loc"])}
        else:
            yield _with_tag(fault)


def _with_tag(fault: Mapping[str, Any]) -> dict[str, Any]:
    """A wrong tag of a union, as a fault of the tag's own field."""
    if fault["type"] != "union_tag_invalid":
        return dict(fault)
    context = fault["ctx"]
    return {
        "type": "literal_error",
        "loc": (*fault["loc"], str(context["discriminator"]).strip("'")),
        "input": context["tag"],
        "ctx": {"expected": context["expected_tags"]},
    }


def _blame(node: Node) -> Origin:
    """What was written last of the values that disagree: an override, the file, a preset."""
    if not node.is_mapping:
        return node.origin
    origins = [part.origin for part in node.walk()]
    overrides = [origin for origin in origins if origin.override]
    written = [origin for origin in origins if not origin.source]
    return [*overrides[-1:], *written[:1], node.origin][0]


def _place(spec_type: type[Spec], tree: Node, loc: Sequence[Step]) -> _Place | None:
    """Follows a fault's path, passing over the union members that pydantic names in it.

    None if it lies in a member of a union that the node is not meant for.
    """
    annotation: Any = spec_type
    node: Node | None = tree
    deepest = tree
    location: Location = ()
    parent: type[Spec] | None = None
    union: tuple[type[Spec], ...] = ()
    for step in loc:
        specs = expected(annotation).specs
        spec = choose(specs, node)
        names = {member.__name__ for member in specs}
        if step in names and not (spec and step in spec.model_fields):
            if spec is None or step != spec.__name__:
                return None
            continue
        child = node.child(step) if node is not None else None
        inner = below(annotation, node, step)
        is_field = spec is not None and step in spec.model_fields
        if child is None and inner is None and not is_field:
            continue  # the tag of a union
        parent, union = spec, specs
        annotation, node = inner, child
        location = (*location, step)
        deepest = child or deepest
    return _Place(location, deepest, annotation, parent, union)


def _message(place: _Place, fault: Mapping[str, Any]) -> str:
    kind = fault["type"]
    context = fault.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_field(place)
    if kind == "missing":
        return f"missing{_meaning(place)}"
    if kind in ("model_type", "model_attributes_type", "dataclass_type"):
        return f"expected {_spec_form(place)}, got {_shown(fault['input'])}"
    if kind == "value_error":
        error = context["error"]
        return _one_line(error.args[1] if isinstance(error, ConfigError) else str(error))
    if kind in ("literal_error", "enum"):
        return _unknown_choice(place, fault["input"], str(context["expected"]))
    if kind == "union_tag_not_found":
        tag = str(context["discriminator"]).strip("'")
        tags = [t for s in expected(place.annotation).specs for t in tags_of(s).get(tag, ())]
        return f"missing {tag}; one of {', '.join(tags)}"
    text = _one_line(fault["msg"])
    text = text[:1].lower() + text[1:]
    for old, new in (
        ("input should have ", "must have "),
        ("input should be a valid integer", "expected a whole number"),
        ("input should be a valid number", "expected a number"),
        ("input should be a valid string", "expected text"),
        ("input should be a valid boolean", "expected true or false"),
        ("input should be a valid tuple", "expected a list"),
        ("input should be a valid dictionary", "expected a mapping"),
        ("input should be greater", "must be greater"),
        ("input should be less", "must be less"),
        ("input should be ", "expected "),
    ):
        text = text.replace(old, new)
    return f"{text}, got {_shown(fault['input'])}"


def _unknown_field(place: _Place) -> str:
    known = sorted(place.parent.model_fields) if place.parent else []
    hint = nearest(str(place.location[-1]), known)
    return f"unknown field{hint or '; known: ' + (', '.join(known) or 'none')}"


def _unknown_choice(place: _Place, got: Any, choices: str) -> str:
    names = choices.replace(" or ", ", ").replace("'", "").split(", ")
    if len(place.union) > 1:
        tag = str(place.location[-1])
        names = [
            str(value) for spec in place.union for value in tags_of(spec).get(tag, ())
        ] or names
    listed = ", ".join(dict.fromkeys(names))
    return f"unknown {_shown(got)}; known: {listed}{nearest(str(got), names)}"


def _meaning(place: _Place) -> str:
    info = place.parent.model_fields.get(str(place.location[-1])) if place.parent else None
    return f"; {_one_line(info.description)}" if info is not None and info.description else ""


def _spec_form(place: _Place) -> str:
    specs = expected(place.annotation).specs
    kinds = [spec.preset_kind for spec in specs if spec.preset_kind]
    names = [name for kind in kinds for name in preset_names(kind)]
    if names:
        return f"a {kinds[0]} preset ({', '.join(names)}) or a mapping of fields"
    return "a mapping of fields"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = f"'{value}'" if isinstance(value, str) else str(value).lower()
    text = _one_line(text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())
