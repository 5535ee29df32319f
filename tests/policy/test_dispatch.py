from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.policy import CostTable, ExpertCost, Plan, Slot
from ndpsim.policy.dispatch.cpu_only import CpuOnly
from ndpsim.policy.dispatch.crossover import Crossover
from ndpsim.policy.dispatch.greedy_assignment import GreedyAssignment
from ndpsim.policy.dispatch.greedy_makespan import GreedyMakespan
from ndpsim.policy.dispatch.load_balance import LoadBalance
from ndpsim.policy.dispatch.monde import BandwidthRatio
from ndpsim.policy.dispatch.ndp_only import NdpOnly
from ndpsim.policy.dispatch.on_demand import OnDemand
from ndpsim.testing import FakeStage, stages

TP = (("ndp0", "ndp1"),)
"""One home over two units."""


def missing(*n_tokens, home=0):
    return tuple(Slot(home, False, n) for n in n_tokens)


MIXED = (Slot(0, False, 2), Slot(0, True, 1), Slot(1, False, 9), Slot(1, True, 5))


def test_on_demand_computes_residents_while_copies_arrive():
    assert OnDemand().plan(FakeStage(MIXED)) == Plan(gpu=(1, 3, 0, 2), near=())


def test_ndp_only_fetches_nothing():
    assert NdpOnly().plan(FakeStage(MIXED)) == Plan(gpu=(1, 3), near=(0, 2))


# --- monde ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounding", "n_active", "n_gpu"),
    [
        ("floor", 8, 0),
        ("round", 8, 0),
        ("ceil", 8, 1),
        ("floor", 17, 1),
        ("round", 17, 1),
        ("ceil", 17, 1),
        ("ceil", 18, 2),
        ("round", 25, 1),
        ("round", 26, 2),
        ("ceil", 0, 0),
    ],
)
def test_monde_copies_the_share_of_bandwidth(rounding, n_active, n_gpu):
    """DynaNDE's constant: 32 GB/s to the GPU beside 512 GB/s near data, 1 of 17 experts."""
    view = FakeStage(missing(*[1] * n_active), link_bytes_per_s=32, near_bytes_per_s=512)
    assert len(BandwidthRatio(rounding=rounding).plan(view).gpu) == n_gpu


def test_monde_rounds_halves_up():
    view = FakeStage(missing(1), link_bytes_per_s=5, near_bytes_per_s=5)
    assert BandwidthRatio().plan(view) == Plan(gpu=(0,), near=())


def test_monde_copies_the_experts_with_most_tokens_beside_residents():
    view = FakeStage(
        (Slot(0, False, 1), Slot(0, False, 7), Slot(0, True, 1), Slot(0, False, 9)),
        link_bytes_per_s=2,
        near_bytes_per_s=1,
    )
    assert BandwidthRatio().plan(view) == Plan(gpu=(2, 3, 1), near=(0,))


# --- load balance --------------------------------------------------------------------------------


def makespan_ps(view, gpu):
    """The rule of the seed paper, written down again: both sides' estimated ends."""
    end_ps = arrived_ps = 0
    load_ps = {}
    for i in gpu:
        if not view.slots[i].resident:
            arrived_ps += view.fetch_ps(view.slots[i])
            end_ps = max(end_ps, arrived_ps)
            for unit, time_ps in view.blocked_ps(view.slots[i]):
                load_ps[unit] = load_ps.get(unit, 0) + time_ps
        end_ps += view.gpu_ps(view.slots[i])
    for i in set(range(len(view.slots))).difference(gpu):
        for unit, time_ps in view.near_ps(view.slots[i]):
            load_ps[unit] = load_ps.get(unit, 0) + time_ps
    return max([end_ps, *load_ps.values()])


def residents(view):
    return [i for i, slot in enumerate(view.slots) if slot.resident]


def test_load_balance_splits_equal_experts_where_both_sides_end_closest():
    """x copies of 100 and one GPU run of 11 beside 8 - x experts of 60 over two units."""
    view = FakeStage(missing(*[1] * 8), TP)
    ends = [makespan_ps(view, range(x)) for x in range(9)]
    assert ends[:4] == [240, 210, 211, 311]
    assert LoadBalance().plan(view) == Plan(gpu=(0,), near=(1, 2, 3, 4, 5, 6, 7))


def test_load_balance_keeps_experts_near_when_the_copy_stops_their_units():
    view = FakeStage(missing(*[1] * 8), TP, blocks=True)
    assert LoadBalance().plan(view).gpu == ()


def test_load_balance_copies_the_experts_with_most_tokens():
    view = FakeStage(missing(1, 30, 2, 20), TP, copy_ps=200)
    assert LoadBalance().plan(view) == Plan(gpu=(1,), near=(0, 2, 3))


def test_load_balance_relieves_the_fullest_unit_after_each_copy():
    """Two experts on ndp1 and three on ndp0: one of ndp0, one of ndp1, one more of ndp0."""
    slots = (*missing(1, 1, home=1), *missing(1, 1, 1, home=0))
    view = FakeStage(slots, near_base_ps=100, copy_ps=20)
    assert LoadBalance().plan(view) == Plan(gpu=(2, 0, 3), near=(1, 4))


def test_load_balance_lets_copies_hide_behind_residents():
    """Four residents take 40 on the GPU, a copy 40: the copied expert follows without a gap."""
    resident = tuple(Slot(0, True, 1) for _ in range(4))
    view = FakeStage((*missing(1), *resident), TP, gpu_base_ps=9, copy_ps=40, near_base_ps=120)
    assert makespan_ps(view, [1, 2, 3, 4, 0]) == 50
    assert LoadBalance().plan(view) == Plan(gpu=(1, 2, 3, 4, 0), near=())


@given(stages())
def test_load_balance_equals_trying_all_x_when_experts_share_one_home(view):
    view = replace(view, homes=TP, slots=tuple(s._replace(home=0) for s in view.slots))
    kept = sorted(residents(view), key=lambda i: -view.slots[i].n_tokens)
    moved = [i for i, slot in enumerate(view.slots) if not slot.resident]
    moved.sort(key=lambda i: (-view.slots[i].n_tokens, i))
    ends = [makespan_ps(view, kept + moved[:x]) for x in range(len(moved) + 1)]
    x = ends.index(min(ends))
    assert LoadBalance().plan(view).gpu == tuple(kept + moved[:x])


def best_of_all_subsets_ps(view):
    """The least makespan over every choice of experts that are copied."""
    kept = residents(view)
    moved = [i for i, slot in enumerate(view.slots) if not slot.resident]
    return min(
        makespan_ps(view, [*kept, *chosen])
        for x in range(len(moved) + 1)
        for chosen in combinations(moved, x)
    )


@given(stages(max_slots=7), st.integers(1, 40))
def test_load_balance_is_optimal_for_equal_experts_wherever_they_live(view, n_tokens):
    """Decode of one token: all active experts alike, on any units, cut or whole."""
    view = replace(
        view, blocks=False, slots=tuple(slot._replace(n_tokens=n_tokens) for slot in view.slots)
    )
    plan = LoadBalance().plan(view)
    assert makespan_ps(view, plan.gpu) == best_of_all_subsets_ps(view)


@given(stages())
def test_load_balance_is_never_estimated_slower_than_fetching_nothing(view):
    assert makespan_ps(view, LoadBalance().plan(view).gpu) <= makespan_ps(view, residents(view))


def test_a_decision_costs_a_base_and_a_part_per_expert():
    assert (
        LoadBalance(decision_base="1 us", decision_per_expert="50 ns").decision_ps(8) == 1_400_000
    )


def test_crossover_judges_each_expert_alone() -> None:
    """CPU time of n tokens against one copy and the GPU: the break-even is between 3 and 4."""
    slots = tuple(Slot(0, n == 9, n) for n in (1, 3, 4, 9))
    view = FakeStage(slots, copy_ps=100, gpu_base_ps=10, gpu_token_ps=0)
    assert Crossover().plan(view) == Plan(gpu=(3, 2), cpu=(0, 1))


def test_what_is_missing_runs_on_the_cpu() -> None:
    slots = (Slot(0, True, 1), Slot(0, False, 2), Slot(0, False, 3))
    assert CpuOnly().plan(FakeStage(slots)) == Plan(gpu=(0,), cpu=(1, 2))


def test_monde_relieves_the_home_with_most_experts_among_equals() -> None:
    slots = (*missing(1, 1), *missing(1, 1, 1, 1, home=1))
    plan = BandwidthRatio(rounding="round").plan(
        FakeStage(slots, link_bytes_per_s=1, near_bytes_per_s=2)
    )
    assert [slots[i].home for i in plan.gpu] == [1, 1]


# --- greedy --------------------------------------------------------------------------------------


def table(*rows):
    """Rows of (tokens, GPU, fetch, near, CPU)."""
    return CostTable(tuple(ExpertCost(n, *costs) for n, *costs in rows))


def test_dalis_greedy_evens_the_sums_of_cpu_and_gpu():
    """GPU 12; then the CPU at 9 rather than the GPU at 24; 16 rather than 24; GPU 24 before 25."""
    view = table((4, 2, 10, (), 20), (3, 2, 10, (), 9), (2, 2, 10, (), 7), (1, 2, 10, (), 9))
    assert GreedyAssignment().plan(view) == Plan(gpu=(0, 3), cpu=(1, 2))


def gpu_in_turn_ps(view, slot):
    return view.gpu_ps(slot) + (0 if slot.resident else view.fetch_ps(slot))


@given(stages(max_slots=6))
def test_dalis_greedy_ends_no_later_than_all_work_in_turn(view):
    """Each expert on the faster of its two devices, one after another."""
    plan = GreedyAssignment().plan(view)
    gpu_ps = sum(gpu_in_turn_ps(view, view.slots[i]) for i in plan.gpu)
    cpu_ps = sum(view.cpu_ps(view.slots[i]) for i in plan.cpu)
    in_turn = sum(min(view.cpu_ps(s), gpu_in_turn_ps(view, s)) for s in view.slots)
    assert max(gpu_ps, cpu_ps) <= in_turn


def three_ends_ps(view, plan):
    """TriMoE's costs: GPU the larger of copies and compute, CPU a sum, the fullest unit."""
    slots = view.slots
    units = {}
    for i in plan.near:
        for unit, part_ps in view.near_ps(slots[i]):
            units[unit] = units.get(unit, 0) + part_ps
    copies = sum(view.fetch_ps(slots[i]) for i in plan.gpu if not slots[i].resident)
    compute = sum(view.gpu_ps(slots[i]) for i in plan.gpu)
    return max([copies, compute, sum(view.cpu_ps(slots[i]) for i in plan.cpu), *units.values()])


def test_trimoe_sends_hot_warm_and_cold_experts_to_three_devices():
    view = table((30, 10, 50, 300, 200), (8, 5, 50, 80, 40), (1, 3, 50, 20, 30), (1, 3, 50, 20, 30))
    assert GreedyMakespan().plan(view) == Plan(gpu=(0,), cpu=(1,), near=(2, 3))


@given(stages(max_slots=6))
def test_trimoes_moves_never_lengthen_the_makespan(view):
    before = three_ends_ps(view, GreedyMakespan(max_moves=0).plan(view))
    assert three_ends_ps(view, GreedyMakespan().plan(view)) <= before


def test_trimoe_moves_an_expert_off_the_slowest_device():
    """Greedy: 10 and 10 near (CPU would be 21), the last on the CPU; then a near one follows it."""
    view = table((3, 99, 99, 6, 9), (2, 99, 99, 6, 13), (1, 99, 99, 12, 14))
    greedy = GreedyMakespan(max_moves=0).plan(view)
    moved = GreedyMakespan().plan(view)
    assert three_ends_ps(view, moved) <= three_ends_ps(view, greedy) == 14


@given(n=st.integers(0, 40), link=st.integers(1, 60), near=st.integers(1, 600))
def test_monde_argmin_equals_trying_all_numbers(n, link, near):
    view = FakeStage(missing(*[1] * n), link_bytes_per_s=link, near_bytes_per_s=near)
    ends = [max(x * near, (n - x) * link) for x in range(n + 1)]
    assert len(BandwidthRatio(rounding="argmin").plan(view).gpu) == ends.index(min(ends))
