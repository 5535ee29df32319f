"""Contracts of policies as test classes, and small fakes of what policies see.

Subclass a contract in your own tests and say which policy it is about:

    from ndpsim.testing import CacheContract

    class TestMine(CacheContract):
        @pytest.fixture
        def policy(self):
            return Mine(size=3)

Needs pytest and hypothesis; nothing else in ndpsim imports this package.
"""

from ndpsim.testing.contracts import (
    CacheContract,
    DispatchContract,
    PartitionContract,
    PolicyContract,
    PrefetchContract,
)
from ndpsim.testing.fakes import FakeRoom, FakeStage, FakeUnits
from ndpsim.testing.replay import Stage, replay
from ndpsim.testing.strategies import rooms, routings, stages, unit_sets

__all__ = [
    "CacheContract",
    "DispatchContract",
    "FakeRoom",
    "FakeStage",
    "FakeUnits",
    "PartitionContract",
    "PolicyContract",
    "PrefetchContract",
    "Stage",
    "replay",
    "rooms",
    "routings",
    "stages",
    "unit_sets",
]
