import numpy as np
import pytest
from hypothesis import given

from ndpsim.policy import Home, Shard
from ndpsim.policy.partition.expert_parallel import ExpertParallel
from ndpsim.policy.partition.host import HostMemory
from ndpsim.policy.partition.tensor_parallel import TensorParallel
from ndpsim.testing import FakeUnits, unit_sets


def columns(placement, expert):
    """Columns of an expert by unit."""
    home = placement.homes[placement.home_of[0, expert]]
    return {shard.unit: shard.columns for shard in home.shards}


def test_expert_parallel_deals_experts_to_units_in_turn():
    placement = ExpertParallel().place(FakeUnits(n_units=3, n_experts=7))
    assert placement.homes[1] == Home("ndp1", (Shard("ndp1", 768),))
    assert placement.home_of.tolist() == [[0, 1, 2, 0, 1, 2, 0]] * 2


def test_host_keeps_all_experts_in_one_memory():
    placement = HostMemory().place(FakeUnits())
    assert placement.homes == (Home("memory", (Shard("memory", 768),)),)
    assert not placement.home_of.any()


def test_an_even_cut_has_one_home_for_all_experts():
    placement = TensorParallel().place(FakeUnits(n_units=4))
    assert [home.name for home in placement.homes] == ["tp"]
    assert columns(placement, 0) == {f"ndp{i}": 192 for i in range(4)}


def test_an_uneven_cut_rotates_the_larger_slices_by_expert():
    """768 columns are 48 groups of 16: 10, 10, 10, 9, 9 groups over five units."""
    placement = TensorParallel().place(FakeUnits(n_units=5))
    assert list(columns(placement, 0).values()) == [160, 160, 160, 144, 144]
    assert list(columns(placement, 1).values()) == [144, 160, 160, 160, 144]
    assert list(columns(placement, 3).values()) == [160, 144, 144, 160, 160]
    assert columns(placement, 5) == columns(placement, 0)


def test_columns_that_fill_no_group_are_padded():
    placement = TensorParallel().place(FakeUnits(n_units=2, d_expert=40))
    assert list(columns(placement, 0).values()) == [32, 16]


def test_fewer_groups_than_units_leave_units_out_and_take_turns():
    placement = TensorParallel().place(FakeUnits(n_units=4, d_expert=32, n_experts=4))
    assert [tuple(columns(placement, e)) for e in range(4)] == [
        ("ndp0", "ndp1"),
        ("ndp1", "ndp2"),
        ("ndp2", "ndp3"),
        ("ndp0", "ndp3"),
    ]


@given(unit_sets())
def test_slices_of_one_expert_differ_by_at_most_one_group(view):
    """Ceil and floor of an even share; padding is less than one group in all."""
    for home in TensorParallel().place(view).homes:
        sizes = [shard.columns for shard in home.shards]
        sizes += [0] * (view.n_units - len(sizes))
        assert max(sizes) - min(sizes) <= view.slice_granularity
        assert sum(sizes) - view.d_expert < view.slice_granularity


@pytest.mark.parametrize("n_units", range(1, 9))
def test_over_as_many_experts_as_units_every_unit_holds_the_same(n_units):
    placement = TensorParallel().place(FakeUnits(n_units=n_units, n_experts=n_units, d_expert=1408))
    held = np.zeros(n_units, dtype=int)
    for expert in range(n_units):
        for unit, size in columns(placement, expert).items():
            held[int(unit[3:])] += size
    assert len(set(held)) == 1
