"""A stage without names: what must be simulated, and what came of it."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ndpsim.policy import Phase, Plan, Slot
from ndpsim.workload.operators import Operator


@dataclass(frozen=True, slots=True)
class Transfer:
    """A prefetched expert on its way: its home and the bytes each shard still has to move."""

    home: int
    left: tuple[int, ...]


Queue: TypeAlias = tuple[tuple[Transfer, int], ...]
"""Transfers in order, equal neighbours counted: ((transfer, how many), ...)."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that decides how a stage goes; the memo's key. Ids and history are erased.

    ``gpu`` stages run operators on the GPU. ``experts`` stages run active experts wherever the
    dispatch policy sends them, beside `operators` (the shared experts) on the GPU.
    """

    kind: Literal["gpu", "experts"]
    phase: Phase
    n_tokens: int
    operators: tuple[Operator, ...] = ()
    slots: tuple[Slot, ...] = ()
    queue: Queue = ()
    refresh_phase: int = 0
    gate: tuple[Operator, ...] = ()
    """A later layer's gate, which the GPU computes beside the experts; prefetch waits for it."""
    host_ps: int = 0
    """Time of prefetch and cache decisions on the host."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = (
            self.kind,
            self.phase,
            self.n_tokens,
            self.operators,
            self.slots,
            self.queue,
            self.refresh_phase,
            self.gate,
            self.host_ps,
        )
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash


Amounts: TypeAlias = tuple[tuple[str, int], ...]
"""(resource, integer) pairs, sorted by resource."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage took, as integers only."""

    duration_ps: int
    queue: Queue
    """Transfers that are still on their way."""
    n_arrived: int
    """Transfers that arrived, from the front of the queue."""
    plan: Plan | None
    """Slot indices by device, for an expert stage."""
    busy_ps: Amounts
    """Time in use; an NDP unit counts its own work, its ranks count host copies as well."""
    n_bytes: Amounts
    flop: Amounts
    commands: Amounts
    """DRAM commands, as "unit.COMMAND"."""
    critical_ps: Amounts
    """Time by resource along the critical path; sums to the duration."""
