"""Partition, dispatch, prefetch, cache: the four policies of a scheduler."""

from ndpsim import registry
from ndpsim.policy.contract import (
    Cache,
    CacheState,
    Deciding,
    Dispatch,
    DispatchView,
    ExpertId,
    Home,
    LookaheadState,
    Need,
    Partition,
    PartitionView,
    Phase,
    Placement,
    Plan,
    Policy,
    Prefetch,
    PrefetchState,
    PreloadState,
    ResidencyView,
    Shard,
    Slot,
    Verdict,
    WatchingState,
)
from ndpsim.policy.cost_table import CostTable, ExpertCost
from ndpsim.policy.spec import SchedulerSpec

__all__ = [
    "Cache",
    "CacheState",
    "CostTable",
    "Deciding",
    "Dispatch",
    "DispatchView",
    "ExpertCost",
    "ExpertId",
    "Home",
    "LookaheadState",
    "Need",
    "Partition",
    "PartitionView",
    "Phase",
    "Placement",
    "Plan",
    "Policy",
    "Prefetch",
    "PrefetchState",
    "PreloadState",
    "ResidencyView",
    "SchedulerSpec",
    "Shard",
    "Slot",
    "Verdict",
    "WatchingState",
]

for _kind in registry.KINDS:
    registry.register_package(_kind, f"ndpsim.policy.{_kind}")
