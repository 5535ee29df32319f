"""A configuration as a tree that remembers where every value was written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

Step: TypeAlias = str | int
Location: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written."""

    where: str
    """Opens an error line: ``configs/edge.yaml:12`` or ``--set a.b=c``."""
    base: Path = Path()
    """What a relative path written here is relative to."""
    source: str = ""
    """What a reader is told about the value's source; empty: the same as `where`."""
    assumed: bool = False
    """A preset says that this value is an assumption."""
    override: bool = False
    """Set from outside any file: ``--set`` or its equal in Python."""

    @property
    def text(self) -> str:
        """The source as shown to a reader."""
        return self.source or self.where


@dataclass(frozen=True, slots=True)
class Node:
    """A mapping of nodes, a list of nodes, or a scalar, with its origin."""

    value: Any
    origin: Origin

    @property
    def is_mapping(self) -> bool:
        """Whether this is a mapping of nodes."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """Whether this is a list of nodes."""
        return isinstance(self.value, list)

    def child(self, step: Step) -> "Node | None":
        """The node one step below, or None."""
        if isinstance(self.value, dict):
            return self.value.get(str(step))
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]  # type: ignore[no-any-return]
        return None

    def children(self) -> Iterator[tuple[Step, "Node"]]:
        """Steps and nodes below; none for a scalar."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def walk(self) -> Iterator["Node"]:
        """The node itself and all below it."""
        yield self
        for _, child in self.children():
            yield from child.walk()

    def plain(self) -> Any:
        """The same values without origins."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def node_from(value: object, origin: Origin) -> Node:
    """A plain value (mappings, sequences, specs, scalars) as a tree with one origin throughout."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return Node({str(key): node_from(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node([node_from(item, origin) for item in value], origin)
    return Node(value, origin)


def dotted(location: Sequence[Step]) -> str:
    """``a.0.b`` for the steps of a location."""
    return ".".join(str(step) for step in location)
