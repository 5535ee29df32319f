"""A scheduler as data: four policies, each a name or a name with parameters."""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from ndpsim import registry
from ndpsim.policy.contract import Cache, Dispatch, Need, Partition, Policy, Prefetch, registered
from ndpsim.spec.model import Spec

FIELDS: Final[Mapping[Need, str]] = {
    "profile": "other sequences",
    "weights": "weights",
    "predicted": "predicted",
    "future": "the future",
}
"""What a need asks of a trace, beside expert ids."""
NEEDS: Final[tuple[Need, ...]] = tuple(FIELDS)


def _reader(kind: str) -> Callable[[object], object]:
    """Reads ``name`` or ``{policy: name, parameter: value}`` as a policy of a kind."""

    def read(value: object) -> object:
        if isinstance(value, Policy):
            return value
        parameters = dict(value) if isinstance(value, dict) else {"policy": value}
        name = parameters.pop("policy", None)
        if not isinstance(name, str):
            raise ValueError(f"expected a {kind} name or a mapping with 'policy: NAME'")
        return registered(kind, name).model_validate(parameters)

    return read


class SchedulerSpec(Spec):
    """How routed experts are placed, dispatched, prefetched and cached."""

    preset_kind: ClassVar[str | None] = "scheduler"

    name: str = "custom"
    partition: Annotated[SerializeAsAny[Partition], BeforeValidator(_reader("partition"))]
    dispatch: Annotated[SerializeAsAny[Dispatch], BeforeValidator(_reader("dispatch"))]
    prefetch: Annotated[SerializeAsAny[Prefetch], BeforeValidator(_reader("prefetch"))]
    cache: Annotated[SerializeAsAny[Cache], BeforeValidator(_reader("cache"))]

    @model_validator(mode="after")
    def _policies_agree(self) -> Self:
        if self.partition.on != "ndp" and self.dispatch.near:
            raise ValueError(
                f"dispatch '{self.dispatch.name}' computes near data, but partition "
                f"'{self.partition.name}' keeps experts in {self.partition.on} memory"
            )
        if self.prefetch.fills and not self.cache.keeps_prefetched:
            raise ValueError(
                f"prefetch '{self.prefetch.name}' needs a cache that keeps what arrives; "
                f"cache '{self.cache.name}' keeps nothing"
            )
        return self

    @property
    def exact(self) -> bool:
        """Whether the model computes what its router chose; all four policies only move weights."""
        return True

    @property
    def policies(self) -> tuple[Policy, Policy, Policy, Policy]:
        """Partition, dispatch, prefetch, cache."""
        return self.partition, self.dispatch, self.prefetch, self.cache

    @property
    def needs(self) -> frozenset[Need]:
        """What the policies need beyond the routing so far."""
        return frozenset[Need]().union(*(policy.needs for policy in self.policies))

    @property
    def trace_fields(self) -> tuple[str, ...]:
        """What a trace must hold for this scheduler, for people."""
        return ("ids", *(FIELDS[need] for need in NEEDS if need in self.needs))

    def identity(self) -> dict[str, Any]:
        """All values, with the contents of files in place of their paths, for the config hash.

        A policy from outside the package counts with the source text of its module.
        """
        kinds = ("partition", "dispatch", "prefetch", "cache")
        parts = zip(kinds, map(_identity, self.policies), strict=True)
        return self.model_dump(mode="json") | dict(parts)

    @property
    def oracle(self) -> bool:
        """Whether a policy sees the future, which no real system can."""
        return "future" in self.needs

    @property
    def devices(self) -> tuple[str, ...]:
        """What holds or computes routed experts: the GPU, ndp or host memory, the host's cpu."""
        cpu = ("cpu",) if self.dispatch.cpu else ()
        return tuple(dict.fromkeys(("gpu", self.partition.on, *cpu)))


def _identity(policy: Policy) -> dict[str, Any]:
    values = policy.model_dump(mode="json")
    for name in type(policy).model_fields:
        path = getattr(policy, name)
        if isinstance(path, Path) and path.is_file():
            values[name] = sha256(path.read_bytes()).hexdigest()
    source = registry.source_of(type(policy))
    if source is not None:
        values["policy"] = values["policy"].rpartition("/")[2]
        values["source"] = sha256(source.encode()).hexdigest()
    return values
