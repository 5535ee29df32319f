"""The contracts themselves: a policy that breaks its promise fails."""

import numpy as np
import pytest

from ndpsim.policy import Cache, Dispatch, Home, Partition, Placement, Plan, Shard
from ndpsim.testing import CacheContract, DispatchContract, PartitionContract


class Greedy(Cache):
    """Keeps everything."""

    keeps_fetched = True

    def start(self, view):
        return self

    def admit(self, expert, *, prefetched):
        return None

    def touch(self, expert):
        pass


class Forgetful(Dispatch):
    """Leaves the first slot out."""

    def plan(self, view):
        return Plan(gpu=tuple(range(1, len(view.slots))), near=())


class Narrow(Partition):
    """Drops a column."""

    def place(self, view):
        home = Home("one", (Shard(view.units[0], view.d_expert - 1),))
        return Placement((home,), np.zeros((view.n_moe_layers, view.n_experts), dtype=np.int16))


@pytest.mark.parametrize(
    ("law", "policy"),
    [
        (CacheContract().test_it_never_holds_more_than_fits, Greedy()),
        (DispatchContract().test_a_plan_covers_each_slot_exactly_once, Forgetful()),
        (PartitionContract().test_a_home_holds_a_whole_expert, Narrow()),
    ],
)
def test_a_broken_promise_is_caught(law, policy):
    with pytest.raises(AssertionError):
        law(policy=policy)
