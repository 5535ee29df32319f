import numpy as np
import pytest
from hypothesis import given

from ndpsim.errors import ConfigError
from ndpsim.policy import Home, Shard
from ndpsim.policy.homes import even_units
from ndpsim.policy.partition.balanced import Balanced
from ndpsim.policy.partition.expert_parallel import ExpertParallel
from ndpsim.policy.partition.file import FromFile
from ndpsim.policy.partition.host import HostMemory
from ndpsim.policy.partition.hybrid import Hybrid
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


# --- order, groups, files, heat ------------------------------------------------------------------


def test_contiguous_blocks_differ_by_one_expert():
    placement = ExpertParallel(order="contiguous").place(FakeUnits(n_units=3, n_experts=7))
    assert placement.home_of[0].tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_groups_of_units_share_experts_in_turn():
    placement = TensorParallel(groups=2).place(FakeUnits(n_units=4, n_experts=4))
    assert [tuple(columns(placement, e)) for e in range(4)] == [
        ("ndp0", "ndp1"),
        ("ndp2", "ndp3"),
        ("ndp0", "ndp1"),
        ("ndp2", "ndp3"),
    ]
    assert columns(placement, 0) == {"ndp0": 384, "ndp1": 384}


def test_the_last_group_takes_the_units_that_are_left():
    placement = TensorParallel(groups=2).place(FakeUnits(n_units=3, n_experts=2))
    assert columns(placement, 1) == {"ndp2": 768}


@given(unit_sets())
def test_groups_of_one_unit_are_expert_parallel_and_one_group_of_all_is_the_default(view):
    single = TensorParallel(groups=1).place(view)
    whole = ExpertParallel().place(view)
    for expert in range(view.n_experts):
        assert list(columns(single, expert)) == list(columns(whole, expert))
    assert (
        TensorParallel(groups=view.n_units).place(view).homes == TensorParallel().place(view).homes
    )


def test_balanced_deals_the_heaviest_expert_to_the_least_loaded_unit_with_room():
    counts = np.array([9, 1, 8, 2, 7, 3])
    assert even_units(counts, 3).tolist() == [0, 0, 1, 1, 2, 2]


@given(unit_sets())
def test_balanced_gives_no_unit_more_than_its_share_of_experts(view):
    placement = Balanced().place(view)
    for row in placement.home_of:
        held = np.bincount(row, minlength=view.n_units)
        assert held.max() <= -(-view.n_experts // view.n_units)
    assert placement.homes == ExpertParallel().place(view).homes


def test_hybrid_cuts_the_hot_quarter_and_keeps_the_rest_whole():
    view = FakeUnits(n_units=4, n_experts=8)
    placement = Hybrid().place(view)
    for row, counts in zip(placement.home_of, view.profile, strict=True):
        cut = [e for e in range(8) if len(placement.homes[row[e]].shards) > 1]
        assert len(cut) == 2
        assert counts[cut].min() >= np.delete(counts, cut).max()


@given(unit_sets())
def test_all_hot_is_tensor_parallel_and_none_hot_is_balanced(view):
    hot, cold = Hybrid(hot_frac=1.0).place(view), Hybrid(hot_frac=0.0).place(view)
    tensor, balanced = TensorParallel().place(view), Balanced().place(view)
    for expert in range(view.n_experts):
        assert columns(hot, expert) == columns(tensor, expert)
        assert columns(cold, expert) == columns(balanced, expert)


def placed(tmp_path, *lines):
    path = tmp_path / "homes.csv"
    path.write_text("\n".join(("layer,expert,unit", *lines)) + "\n")
    return FromFile(path=path).place(FakeUnits(n_units=2, n_moe_layers=2, n_experts=2))


def test_homes_come_from_a_file_by_decoder_layer(tmp_path):
    """The view's first MoE layer is decoder layer 1."""
    placement = placed(tmp_path, "1,0,ndp1", "1,1,ndp0", "2,0,ndp0", "2,1,ndp0")
    assert placement.home_of.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,0,ndp1"], "places 1 of 4 experts; expert 1 of layer 1 is missing"),
        (["1,0,ndp1", "1,0,ndp0"], r"homes.csv:3: expert 0 of this layer was placed before"),
        (["1,0,ndp9"], r"homes.csv:2: unknown unit 'ndp9'"),
        (["0,0,ndp1"], r"homes.csv:2: the model has no routed expert 0 in layer 0"),
        (["1,0"], r"homes.csv:2: expected LAYER,EXPERT,UNIT"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_its_line(tmp_path, lines, message):
    with pytest.raises(ConfigError, match=message):
        placed(tmp_path, *lines)


def test_a_profile_may_be_a_file(tmp_path):
    view = FakeUnits(n_units=2, n_moe_layers=1, n_experts=4)
    path = tmp_path / "profile.csv"
    path.write_text("layer,expert,count\n1,3,9\n1,0,5\n1,1,4\n")
    assert not Balanced(profile=path).needs
    assert Balanced(profile=path).place(view).home_of.tolist() == [[1, 1, 0, 0]]


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        Balanced(profile=tmp_path / "none.csv").place(FakeUnits())
