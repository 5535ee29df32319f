"""Partition, dispatch, prefetch, cache: the four policies of a scheduler."""

from ndpsim import registry
from ndpsim.policy.contract import (
    Cache,
    CacheState,
    Dispatch,
    DispatchView,
    ExpertId,
    Home,
    Partition,
    PartitionView,
    Phase,
    Placement,
    Plan,
    Policy,
    Prefetch,
    PrefetchState,
    ResidencyView,
    Shard,
    Slot,
    Verdict,
)
from ndpsim.policy.spec import SchedulerSpec

__all__ = [
    "Cache",
    "CacheState",
    "Dispatch",
    "DispatchView",
    "ExpertId",
    "Home",
    "Partition",
    "PartitionView",
    "Phase",
    "Placement",
    "Plan",
    "Policy",
    "Prefetch",
    "PrefetchState",
    "ResidencyView",
    "SchedulerSpec",
    "Shard",
    "Slot",
    "Verdict",
]

for _kind in registry.KINDS:
    registry.register_package(_kind, f"ndpsim.policy.{_kind}")
