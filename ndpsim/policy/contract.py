"""What a policy decides, what it may see, and what it must promise.

A scheduler is four policies. Each is a frozen `Spec`: its fields are its parameters, so it is its
own configuration, its own memo key and part of the config hash.

partition  once per run: where the weights of each routed expert live (`Placement`).
dispatch   once per distinct situation: which device computes each active expert, now. Pure: it sees
           slots, never expert ids, and must answer equal views with equal plans.
prefetch   stateful (`start`): sees routed ids after each layer, names experts to bring to the GPU.
cache      stateful (`start`): decides what stays on the GPU and what leaves.

Policies never see hardware. They see the small read-only views declared here, which the machine
implements; a test implements them in ten lines.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import SerializerFunctionWrapHandler, model_serializer

from ndpsim import registry
from ndpsim.spec.model import Spec, Time

Phase: TypeAlias = Literal["prefill", "decode"]
ExpertId: TypeAlias = tuple[int, int]
"""(index of the MoE layer, expert)."""
Verdict: TypeAlias = ExpertId | Literal["refuse"] | None
"""A cache's answer to an arrival: the expert to evict, "refuse", or None to keep all."""


class Policy(Spec):
    """The base of all policies; the registry sets `name` on registration."""

    family_tag: ClassVar[str | None] = "policy"
    kind: ClassVar[str]
    name: ClassVar[str]
    source: ClassVar[str] = "ndpsim"
    """Where the rule was published."""

    @classmethod
    def family_names(cls) -> list[str]:
        """Names of all registered policies of this kind."""
        return registry.names(cls.kind)

    @classmethod
    def family_member(cls, name: str) -> type[Spec]:
        """The policy of this kind registered under a name."""
        member: type[Spec] = registry.lookup(cls.kind, name)
        return member

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"policy": self.name, **handler(self)}


# --- partition ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shard:
    """`columns` of an expert's inner dimension on `unit`: an NDP unit, host memory or the GPU."""

    unit: str
    columns: int


@dataclass(frozen=True, slots=True)
class Home:
    """Where one expert's weights live: whole on one unit, or cut over several."""

    name: str
    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Homes of all routed experts.

    `home_of` has shape (n_moe_layers, n_experts) and indexes `homes`.
    """

    homes: tuple[Home, ...]
    home_of: NDArray[np.int16]


class PartitionView(Protocol):
    """What a partition sees: the units that can hold experts and the experts' geometry."""

    @property
    def units(self) -> tuple[str, ...]:
        """NDP units, in order."""

    @property
    def host(self) -> str:
        """The host's ordinary memory."""

    @property
    def gpu(self) -> str:
        """The GPU's own memory."""

    @property
    def n_moe_layers(self) -> int:
        """Layers with routed experts."""

    @property
    def n_experts(self) -> int:
        """Routed experts per layer."""

    @property
    def d_expert(self) -> int:
        """Inner dimension of one expert, in columns."""

    @property
    def slice_granularity(self) -> int:
        """Columns that must stay together on one unit."""


class Partition(Policy):
    """Where expert weights live, and how one expert is cut over NDP units."""

    kind: ClassVar[str] = "partition"
    on: ClassVar[Literal["ndp", "host", "gpu"]] = "ndp"
    """Which memory holds the experts."""

    @abstractmethod
    def place(self, view: PartitionView) -> Placement:
        """Every routed expert's home; columns of a home's shards sum to at least `d_expert`."""


# --- dispatch ----------------------------------------------------------------------------------


class Slot(NamedTuple):
    """One active expert of a stage, without its id: its home, residency and number of tokens."""

    home: int
    resident: bool
    n_tokens: int


class DispatchView(Protocol):
    """What a dispatch policy sees of one expert stage; all times are estimates in picoseconds."""

    @property
    def phase(self) -> Phase:
        """Prefill or decode."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The active experts."""

    @property
    def link_bytes_per_s(self) -> int:
        """Bandwidth from the experts' home to the GPU."""

    @property
    def near_bytes_per_s(self) -> int:
        """Bandwidth of all NDP units together on their own memory."""

    def gpu_ps(self, slot: Slot) -> int:
        """Compute time on the GPU, weights present."""

    def fetch_ps(self, slot: Slot) -> int:
        """Time to copy the weights to the GPU, undisturbed."""

    def near_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """(unit, compute time) near the data; empty if the home cannot compute."""

    def blocked_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """(unit, time) that fetching this slot keeps a unit from computing."""

    def cpu_ps(self, slot: Slot) -> int:
        """Compute time on the host CPU, which reads the weights where they live."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Slot indices by device, in order of execution; each slot appears exactly once."""

    gpu: tuple[int, ...]
    near: tuple[int, ...] = ()
    cpu: tuple[int, ...] = ()


class Dispatch(Policy):
    """Which device computes each active expert of this layer, now."""

    kind: ClassVar[str] = "dispatch"
    near: ClassVar[bool] = True
    """Whether plans may use NDP units; then all homes are on NDP units (`SchedulerSpec`)."""
    decision_base: Time = 0
    """Time of one decision on the host CPU, whatever the number of experts."""
    decision_per_expert: Time = 0
    """Additional decision time per active expert."""

    @abstractmethod
    def plan(self, view: DispatchView) -> Plan:
        """Assign every slot to the GPU (copied if missing), near its home, or to the host CPU."""

    def decision_ps(self, n_active: int) -> int:
        """Picoseconds the decision takes on the host CPU."""
        return self.decision_base + n_active * self.decision_per_expert


# --- prefetch and cache ------------------------------------------------------------------------


class ResidencyView(Protocol):
    """What prefetch and cache policies see of the machine."""

    @property
    def n_moe_layers(self) -> int:
        """Layers with routed experts."""

    @property
    def n_experts(self) -> int:
        """Routed experts per layer."""

    @property
    def capacity(self) -> int:
        """Experts that fit into free GPU memory, beyond the two staging buffers."""


class PrefetchState(Protocol):
    """One run of a prefetch policy."""

    def observe(self, layer: int, experts: NDArray[np.int16]) -> None:
        """See what a layer routed to: ids of shape (n_tokens, top_k), -1 for none."""

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        """Experts to bring to the GPU now that a step of this phase has ended, most wanted first.

        Called once per step of a watched phase. Distinct experts of the model; one that is resident
        or on its way is skipped by the machine.
        """


class Prefetch(Policy):
    """Which experts to bring to the GPU ahead of need."""

    kind: ClassVar[str] = "prefetch"
    watches: ClassVar[frozenset[Phase]] = frozenset()
    """Phases whose routing and step ends the policy wants to see."""

    @abstractmethod
    def start(self, view: ResidencyView) -> PrefetchState:
        """A fresh state for one run."""


class CacheState(Protocol):
    """One run of a cache policy; it never holds more than `capacity` experts."""

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        """An expert arrived on the GPU that is not held; the answer is final."""

    def touch(self, expert: ExpertId) -> None:
        """A held expert was used."""


class Cache(Policy):
    """What stays on the GPU, what leaves."""

    kind: ClassVar[str] = "cache"
    keeps_prefetched: ClassVar[bool] = True
    keeps_fetched: ClassVar[bool] = False
    """Whether experts fetched on demand may stay (then uses are reported by `touch`)."""

    @abstractmethod
    def start(self, view: ResidencyView) -> CacheState:
        """A fresh, empty state for one run."""
