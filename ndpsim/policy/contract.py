"""What a policy decides, what it may see, and what it must promise.

A scheduler is four policies. Each is a frozen `Spec`: its fields are its parameters, so it is its
own configuration, its own memo key and part of the config hash.

partition  once per run: where the weights of each routed expert live (`Placement`).
dispatch   once per distinct situation: which device computes each active expert, now. Pure: it sees
           slots, never expert ids, and must answer equal views with equal plans.
prefetch   stateful (`start`): sees routed ids after each layer, names experts to bring to the GPU.
cache      stateful (`start`): decides what stays on the GPU and what leaves.

What a policy needs beyond the routing so far is stated by its `needs`; a run whose trace cannot
give it is refused before it starts, and what is not stated cannot be seen.

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
from ndpsim.errors import ConfigError
from ndpsim.spec.model import Spec, Time

Phase: TypeAlias = Literal["prefill", "decode"]
ExpertId: TypeAlias = tuple[int, int]
"""(index of the MoE layer, expert)."""
Verdict: TypeAlias = ExpertId | Literal["refuse"] | None
"""A cache's answer to an arrival: the expert to evict, "refuse", or None to keep all."""


Need: TypeAlias = Literal["profile", "weights", "predicted", "future"]
"""What a policy may need beyond the routing so far.

profile    expert counts of other sequences, to calibrate on (or of a file it names)
weights    the router's weights of the chosen experts
predicted  ids predicted ahead of a layer, from the trace
future     the routing of the whole request; only an oracle has it
"""


class Policy(Spec):
    """The base of all policies; the registry sets `name` on registration."""

    family_tag: ClassVar[str | None] = "policy"
    kind: ClassVar[str]
    name: ClassVar[str]
    source: ClassVar[str] = "ndpsim"
    """Where the rule was published."""

    @property
    def needs(self) -> frozenset[Need]:
        """What the run must know for this policy, with these parameters."""
        return frozenset()

    @classmethod
    def family_names(cls) -> list[str]:
        """Names of all registered policies of this kind."""
        return registry.names(cls.kind)

    @classmethod
    def family_member(cls, name: str) -> type[Spec]:
        """The policy of this kind registered under a name."""
        return registered(cls.kind, name)

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"policy": self.name, **handler(self)}


def registered(kind: str, name: str) -> type[Policy]:
    """The policy of a kind registered under a name.

    Raises
    ------
    ConfigError
        There is none, or what is registered is no policy.
    """
    policy = registry.lookup(kind, name)
    if not (isinstance(policy, type) and issubclass(policy, Policy)):
        raise ConfigError(kind, f"'{name}' is no policy: {policy!r} does not derive from Policy")
    return policy


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
    def moe_layers(self) -> tuple[int, ...]:
        """Their decoder-layer indices, which files and traces use."""

    @property
    def n_experts(self) -> int:
        """Routed experts per layer."""

    @property
    def profile(self) -> NDArray[np.int64]:
        """Calibration counts, (n_moe_layers, n_experts); for a policy that needs "profile"."""

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
    left: tuple[int, ...] = ()
    """Bytes by shard still to copy, where a copy to the GPU was under way; empty: all of them."""


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

    @property
    def activations_ps(self) -> int:
        """Time to move the stage's activations near the data and the results back."""

    def gpu_ps(self, slot: Slot) -> int:
        """Compute time on the GPU, weights present."""

    def fetch_ps(self, slot: Slot) -> int:
        """Time to copy the weights (what is left of them) to the GPU, undisturbed."""

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


class Deciding(Policy):
    """A policy whose decisions take time, charged once per MoE layer; both parts may be zero."""

    decision_base: Time = 0
    """Time of one decision, whatever the number of experts."""
    decision_per_expert: Time = 0
    """Additional decision time per active expert."""

    def decision_ps(self, n_active: int) -> int:
        """Picoseconds one decision takes."""
        return self.decision_base + n_active * self.decision_per_expert


class Dispatch(Deciding):
    """Which device computes each active expert of this layer, now."""

    kind: ClassVar[str] = "dispatch"
    near: ClassVar[bool] = True
    """Whether plans may use NDP units; then all homes are on NDP units (`SchedulerSpec`)."""
    cpu: ClassVar[bool] = False
    """Whether plans may use the host CPU's cores."""
    decision_device: Literal["cpu", "gpu"] = "cpu"
    """What runs the decision: the host, once it has the router's ids, or the GPU, before it."""

    @abstractmethod
    def plan(self, view: DispatchView) -> Plan:
        """Assign every slot to the GPU (copied if missing), near its home, or to the host CPU."""


# --- prefetch and cache ------------------------------------------------------------------------


class ResidencyView(Protocol):
    """What prefetch and cache policies see of the machine and the request."""

    @property
    def n_moe_layers(self) -> int:
        """Layers with routed experts."""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Their decoder-layer indices, which files and traces use."""

    @property
    def n_experts(self) -> int:
        """Routed experts per layer."""

    @property
    def capacity(self) -> int:
        """Experts that fit into free GPU memory, beyond the two staging buffers."""

    @property
    def gpu_ps(self) -> int:
        """Estimated time of one resident expert with one token on the GPU."""

    @property
    def home_ps(self) -> int:
        """Estimated time of one expert with one token at home.

        Near its data with the work spread evenly over all units, or on the host CPU.
        """

    @property
    def profile(self) -> NDArray[np.int64]:
        """Calibration counts, (n_moe_layers, n_experts); for a policy that needs "profile"."""

    @property
    def future(self) -> tuple[NDArray[np.int16], ...]:
        """The request's routing, by step (n_tokens, n_moe_layers, top_k), prefill first.

        For a policy that needs "future": an oracle.
        """


class PrefetchState(Protocol):
    """One run of a prefetch policy."""

    def observe(
        self, layer: int, experts: NDArray[np.int16], weights: NDArray[np.float16] | None
    ) -> None:
        """See what a layer routed to: ids of shape (n_tokens, top_k), -1 for none.

        `weights` are the router's, in the order of the ids, for a policy that needs them.
        """

    def loads(self, ended: Phase) -> Sequence[ExpertId]:
        """Experts to bring to the GPU now that a step of this phase has ended, most wanted first.

        Called once per step of a watched phase. Distinct experts of the model; one that is resident
        or on its way is skipped by the machine.
        """


class LookaheadState(PrefetchState, Protocol):
    """One run of a prefetch policy that looks ahead layer by layer."""

    def ahead(self, layer: int, predicted: NDArray[np.int16]) -> Sequence[ExpertId]:
        """Experts of a later layer to bring to the GPU now, most wanted first.

        Called when the experts of the layer `lookahead` before it start; `predicted` are ids of
        shape (n_tokens, width), -1 for none. Copies run beside that layer's work at the lowest
        priority. When `layer` itself is routed, a copy that has not ended is left to demand, which
        copies only what is missing, or abandoned.
        """


class PreloadState(PrefetchState, Protocol):
    """One run of a prefetch policy that fills the GPU before the request arrives."""

    def preloads(self) -> Sequence[ExpertId]:
        """Experts on the GPU from the start, at no cost to the request; at most `capacity`."""


class Prefetch(Deciding):
    """Which experts to bring to the GPU ahead of need."""

    kind: ClassVar[str] = "prefetch"
    watches: ClassVar[frozenset[Phase]] = frozenset()
    """Phases whose routing and step ends the policy wants to see."""
    lookahead: ClassVar[int] = 0
    """MoE layers it looks ahead; if more than 0, its state is a `LookaheadState`."""
    preloads: ClassVar[bool] = False
    """Whether it fills the GPU before the request; then its state is a `PreloadState`."""

    @property
    def recall_frac(self) -> float | None:
        """Recall of predictions made up from the true routing; None: the trace's own.

        Rule: each routed expert is predicted with this probability; in place of one that is not, an
        expert the token does not use is, drawn evenly, by the run's seed.
        """
        return None

    @property
    def evaluates_gate(self) -> bool:
        """Whether the GPU computes a later layer's gate beside each layer's experts."""
        return False

    @property
    def fills(self) -> bool:
        """Whether it ever brings anything."""
        return bool(self.watches) or self.lookahead > 0 or self.preloads

    @abstractmethod
    def start(self, view: ResidencyView) -> PrefetchState:
        """A fresh state for one run."""


class CacheState(Protocol):
    """One run of a cache policy; it never holds more than `capacity` experts."""

    def admit(self, expert: ExpertId, *, prefetched: bool) -> Verdict:
        """An expert arrived on the GPU that is not held; the answer is final."""

    def touch(self, expert: ExpertId) -> None:
        """A held expert was used on the GPU."""


class WatchingState(CacheState, Protocol):
    """One run of a cache policy that sees all routing."""

    def observe(self, layer: int, active: Sequence[tuple[int, int]]) -> None:
        """See (expert, tokens) of every active expert of a layer, before it runs."""


class Cache(Deciding):
    """What stays on the GPU, what leaves."""

    kind: ClassVar[str] = "cache"
    keeps_prefetched: ClassVar[bool] = True
    keeps_fetched: ClassVar[bool] = False
    """Whether experts fetched on demand may stay (then uses are reported by `touch`)."""
    watches: ClassVar[bool] = False
    """Whether it wants to see all routing; then its state is a `WatchingState`."""

    @abstractmethod
    def start(self, view: ResidencyView) -> CacheState:
        """A fresh, empty state for one run."""
