"""Explicit costs per expert, to ask a dispatch policy what it would do with them.

from ndpsim.policy import CostTable, ExpertCost
from ndpsim.policy.dispatch.exhaustive import Exhaustive

table = CostTable((ExpertCost(7, gpu_ps=30, fetch_ps=100, near_ps=80), ...), activations_ps=5)
plan = Exhaustive().plan(table)      # indices into the table, by device
"""

from dataclasses import dataclass
from functools import cached_property

from ndpsim.policy.contract import Phase, Slot


@dataclass(frozen=True)
class ExpertCost:
    """One active expert and what it costs on each device; any unit of time will do."""

    n_tokens: int
    gpu_ps: int
    """Compute on the GPU, weights present."""
    fetch_ps: int = 0
    """Copy of the weights to the GPU."""
    near_ps: int | tuple[tuple[str, int], ...] = ()
    """Time near the data: on the one unit there is, or (unit, time) of each that takes part."""
    cpu_ps: int = 0
    """Time on the host CPU."""
    resident: bool = False
    """Whether the weights are on the GPU already."""
    blocked_ps: tuple[tuple[str, int], ...] = ()
    """(unit, time) that fetching keeps units from computing."""


@dataclass(frozen=True)
class CostTable:
    """A `DispatchView` of explicit costs; slot i is row i, told apart by its home."""

    rows: tuple[ExpertCost, ...]
    phase: Phase = "decode"
    activations_ps: int = 0
    """Activation moves of the layer, to near data and back."""
    link_bytes_per_s: int = 1
    near_bytes_per_s: int = 1

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The active experts, one home each."""
        return tuple(Slot(i, row.resident, row.n_tokens) for i, row in enumerate(self.rows))

    def gpu_ps(self, slot: Slot) -> int:
        """Compute on the GPU."""
        return self.rows[slot.home].gpu_ps

    def fetch_ps(self, slot: Slot) -> int:
        """Copy of the weights."""
        return self.rows[slot.home].fetch_ps

    def near_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """(unit, time) near the data."""
        near_ps = self.rows[slot.home].near_ps
        return (("near", near_ps),) if isinstance(near_ps, int) else near_ps

    def blocked_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """(unit, time) that fetching takes from computing."""
        return self.rows[slot.home].blocked_ps

    def cpu_ps(self, slot: Slot) -> int:
        """Time on the host CPU."""
        return self.rows[slot.home].cpu_ps
