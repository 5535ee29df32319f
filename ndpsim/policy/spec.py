"""A scheduler as data: four policies, each a name or a name with parameters."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from ndpsim import registry
from ndpsim.policy.contract import Cache, Dispatch, Partition, Policy, Prefetch
from ndpsim.spec.model import Spec


def _reader(kind: str) -> Callable[[object], object]:
    """Reads ``name`` or ``{policy: name, parameter: value}`` as a policy of a kind."""

    def read(value: object) -> object:
        if isinstance(value, Policy):
            return value
        parameters = dict(value) if isinstance(value, dict) else {"policy": value}
        name = parameters.pop("policy", None)
        if not isinstance(name, str):
            raise ValueError(f"expected a {kind} name or a mapping with 'policy: NAME'")
        policy: type[Policy] = registry.lookup(kind, name)
        return policy.model_validate(parameters)

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
        if self.prefetch.watches and not self.cache.keeps_prefetched:
            raise ValueError(
                f"prefetch '{self.prefetch.name}' needs a cache that keeps what arrives; "
                f"cache '{self.cache.name}' keeps nothing"
            )
        return self

    @property
    def exact(self) -> bool:
        """Whether the model computes what its router chose; all four policies only move weights."""
        return True
