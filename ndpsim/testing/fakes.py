"""Fakes of the views that policies see."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ndpsim.policy import Phase, Slot


def uneven_counts(n_layers: int, n_experts: int, heat: int = 1) -> NDArray[np.int64]:
    """Counts of past uses by (layer, expert), uneven and different in each layer."""
    layer, expert = np.arange(n_layers)[:, None], np.arange(n_experts)[None, :]
    return np.asarray((heat * expert * expert + 3 * layer * expert + layer) % 11, np.int64)


@dataclass(frozen=True)
class FakeUnits:
    """A `PartitionView` of some NDP units and one model."""

    n_units: int = 4
    n_moe_layers: int = 2
    n_experts: int = 8
    d_expert: int = 768
    slice_granularity: int = 16
    host: str = "memory"
    gpu: str = "gpu"
    heat: int = 1
    """Which calibration counts: the share of an expert grows with its distance from this one."""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """A dense layer comes first."""
        return tuple(range(1, self.n_moe_layers + 1))

    @property
    def profile(self) -> NDArray[np.int64]:
        """Uneven counts that differ by layer, zero among them."""
        return uneven_counts(self.n_moe_layers, self.n_experts, self.heat)

    @property
    def units(self) -> tuple[str, ...]:
        """Units ndp0, ndp1, ..."""
        return tuple(f"ndp{index}" for index in range(self.n_units))


@dataclass(frozen=True)
class FakeStage:
    """A `DispatchView` with costs linear in tokens.

    `homes` gives the units of each home; near work is divided evenly over them. A home without
    units cannot compute. `blocks` tells whether copies keep units from computing.
    """

    slots: tuple[Slot, ...]
    homes: tuple[tuple[str, ...], ...] = (("ndp0",), ("ndp1",))
    phase: Phase = "decode"
    gpu_base_ps: int = 10
    gpu_token_ps: int = 1
    copy_ps: int = 100
    near_base_ps: int = 60
    near_token_ps: int = 20
    blocks: bool = False
    cpu_base_ps: int = 80
    cpu_token_ps: int = 30
    activations_ps: int = 5
    link_bytes_per_s: int = 50
    near_bytes_per_s: int = 100

    def gpu_ps(self, slot: Slot) -> int:
        """A fixed part and a part per token."""
        return self.gpu_base_ps + slot.n_tokens * self.gpu_token_ps

    def fetch_ps(self, slot: Slot) -> int:
        """The same for every expert."""
        return self.copy_ps

    def near_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """The larger of a fixed part (memory) and a part per token (compute), over the home."""
        units = self.homes[slot.home]
        work_ps = max(self.near_base_ps, slot.n_tokens * self.near_token_ps)
        return tuple((unit, work_ps // len(units)) for unit in units)

    def blocked_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """Every unit of the home for the time of the copy, or nothing."""
        units = self.homes[slot.home] if self.blocks else ()
        return tuple((unit, self.copy_ps) for unit in units)

    def cpu_ps(self, slot: Slot) -> int:
        """The larger of a fixed part (memory) and a part per token (compute)."""
        return max(self.cpu_base_ps, slot.n_tokens * self.cpu_token_ps)


@dataclass(frozen=True)
class FakeRoom:
    """A `ResidencyView`: room for `capacity` experts."""

    capacity: int
    n_moe_layers: int = 3
    n_experts: int = 4
    gpu_ps: int = 10
    home_ps: int = 30
    routed: tuple[NDArray[np.int16], ...] | None = field(default=None, compare=False)
    """The request's routing by step, for oracles; by default two steps of experts in turn."""

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """A dense layer comes first."""
        return tuple(range(1, self.n_moe_layers + 1))

    @property
    def profile(self) -> NDArray[np.int64]:
        """Uneven counts that differ by layer, zero among them."""
        return uneven_counts(self.n_moe_layers, self.n_experts)

    @property
    def future(self) -> tuple[NDArray[np.int16], ...]:
        """The request's routing by step, prefill first."""
        if self.routed is not None:
            return self.routed
        turns = np.arange(2 * self.n_moe_layers).reshape(2, 1, self.n_moe_layers, 1)
        return tuple((turns % self.n_experts).astype(np.int16))
