"""Made-up specs that use every form the machinery supports."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_serializer, model_validator

from ndpsim.errors import unknown
from ndpsim.spec.model import Bandwidth, Count, Frac, InputPath, Size, Spec, Time


class Memory(Spec):
    size: Size
    """Capacity."""
    rate: Bandwidth

    @model_validator(mode="after")
    def _fast_enough(self):
        if self.rate * 10 < self.size:
            raise ValueError("reading it all takes longer than 10 s")
        return self


class Gpu(Spec):
    preset_kind: ClassVar[str | None] = "gpu"

    name: str = "custom"
    sms: Count
    """Streaming multiprocessors."""
    memory: Memory
    latencies: tuple[Time, ...] = ()


class Link(Spec):
    preset_kind: ClassVar[str | None] = "link"

    rate: Bandwidth


class System(Spec):
    preset_kind: ClassVar[str | None] = "system"

    gpu: Gpu
    links: tuple[Link, ...] = ()
    spare: Link | None = None


class Loop(Spec):
    kind: Literal["loop"]
    turns: Count = 3


class Synth(Spec):
    kind: Literal["synth"]
    share: Frac


class Keep(Spec):
    """A family of specs known by names."""

    family_tag: ClassVar[str | None] = "policy"
    label: ClassVar[str] = ""

    @classmethod
    def family_names(cls):
        return sorted(MEMBERS)

    @classmethod
    def family_member(cls, name):
        if name not in MEMBERS:
            raise unknown("keep", "policy", name, MEMBERS)
        return MEMBERS[name]

    @model_serializer(mode="wrap")
    def _with_name(self, handler):
        return {"policy": self.label, **handler(self)}


class Nothing(Keep):
    label: ClassVar[str] = "nothing"


class Recent(Keep):
    label: ClassVar[str] = "recent"
    capacity: Count = 4
    scope: Literal["global", "layer"] = "layer"


MEMBERS = {"nothing": Nothing, "recent": Recent}


def read_keep(value):
    if isinstance(value, Keep):
        return value
    fields = dict(value)
    return Keep.family_member(fields.pop("policy")).model_validate(fields)


class Workload(Spec):
    prompt: Count = 512
    batch: Count = 1


class Run(Spec):
    system: System
    trace: InputPath | None = None
    extend: Annotated[Loop | Synth, Field(discriminator="kind")] | None = None
    either: Loop | Synth | None = None
    keep: Annotated[SerializeAsAny[Keep], BeforeValidator(read_keep)] = Nothing()
    workload: Workload = Workload(prompt=256)
    named: dict[str, Link] = Field(default_factory=dict)
    pair: tuple[Gpu, Link] | None = None
    notes: dict[str, Time] = Field(default_factory=dict)
    seed: int = 0

    @model_validator(mode="after")
    def _even(self):
        if self.seed % 2:
            raise ValueError("seed must be even\nin this test")
        return self
