"""DynaNDE's rule on worked tables: same split, same experts, same total per layer.

The rule, as its simulator codes it: experts by tokens; for every N the NPU takes the first N (sum
of their parameter loads + compute of the last), PIM the rest (sum of their times + activation moves
1 and 2, nothing if there is no rest), the layer is the larger; the first N with the least layer.
In decode with its cache, experts go by benefit = PIM - (compute + load, 0 if cached); cached
experts of the N compute while others load; all cached: they compute one after another.
"""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.policy import CostTable, ExpertCost, Plan
from ndpsim.policy.cache.lfu import Lfu
from ndpsim.policy.dispatch.exhaustive import Exhaustive
from ndpsim.testing import FakeRoom, replay


def expert(n_tokens, load, compute, pim, *, cached=False):
    return ExpertCost(n_tokens, gpu_ps=compute, fetch_ps=load, near_ps=pim, resident=cached)


PREFILL = (
    expert(20, 100, 60, 250),
    expert(12, 100, 45, 160),
    expert(7, 100, 30, 110),
    expert(3, 100, 20, 80),
    expert(1, 100, 15, 70),
)
"""Activation moves 1 and 2 take 18 + 12."""

WORKED = [
    # N, NPU, PIM, layer
    (0, 0, 250 + 160 + 110 + 80 + 70 + 30, 700),
    (1, 100 + 60, 160 + 110 + 80 + 70 + 30, 450),
    (2, 200 + 45, 110 + 80 + 70 + 30, 290),
    (3, 300 + 30, 80 + 70 + 30, 330),
    (4, 400 + 20, 70 + 30, 420),
    (5, 500 + 15, 0, 515),
]


def table(*rows, phase="prefill"):
    return CostTable(rows, phase, activations_ps=30)


def test_every_split_of_the_worked_table_costs_what_the_rule_says():
    rule, view = Exhaustive(), table(*PREFILL)
    splits = rule.splits(view, rule.order(view))
    assert [(s.n_gpu, s.gpu_ps, s.near_ps, s.layer_ps) for s in splits] == WORKED


def test_the_best_split_of_the_worked_table():
    assert Exhaustive().plan(table(*PREFILL)) == Plan(gpu=(0, 1), near=(2, 3, 4))


@pytest.mark.parametrize("order", [(3, 1, 4, 0, 2), (4, 3, 2, 1, 0)])
def test_rows_may_come_in_any_order(order):
    plan = Exhaustive().plan(table(*(PREFILL[i] for i in order)))
    assert {order[i] for i in plan.gpu} == {0, 1}


def test_equal_totals_go_to_the_smaller_number():
    """N = 0: 100 + 30 on PIM; N = 1: 100 + 30 on the NPU."""
    assert Exhaustive().plan(table(expert(1, 100, 30, 100))).gpu == ()


DECODE = (
    expert(4, 100, 20, 90),  # benefit 90 - 120 = -30
    expert(3, 100, 18, 85, cached=True),  # 85 - 18 = 67
    expert(2, 100, 16, 150),  # 150 - 116 = 34
    expert(1, 100, 14, 60, cached=True),  # 60 - 14 = 46
)

REUSE = [
    # benefit order: 1, 3, 2, 0
    (0, 0, 85 + 60 + 150 + 90 + 30, 415),
    (1, 18, 60 + 150 + 90 + 30, 330),
    (2, 18 + 14, 150 + 90 + 30, 270),
    (3, max(100, 18 + 14) + 16, 90 + 30, 120),
    (4, max(200, 18 + 14) + 20, 0, 220),
]


def test_the_reuse_aware_form_orders_by_benefit_and_computes_cached_experts_beside_loads():
    rule, view = Exhaustive(reuse=True), table(*DECODE, phase="decode")
    order = rule.order(view)
    assert order == [1, 3, 2, 0]
    splits = rule.splits(view, order)
    assert [(s.n_gpu, s.gpu_ps, s.near_ps, s.layer_ps) for s in splits] == REUSE
    assert rule.plan(view) == Plan(gpu=(1, 3, 2), near=(0,))


def test_reuse_is_for_decode():
    assert Exhaustive(reuse=True).order(table(*DECODE)) == [0, 1, 2, 3]


def rule_again(rows, activations, *, by_benefit):
    """The published rule, written down once more: (N, experts, NPU, PIM, layer)."""

    def load(row):
        return 0 if row.resident else row.fetch_ps

    def benefit(row):
        return row.near_ps - (row.gpu_ps + load(row))

    key = benefit if by_benefit else (lambda row: row.n_tokens)
    order = sorted(range(len(rows)), key=lambda i: key(rows[i]), reverse=True)
    found = []
    for n in range(len(rows) + 1):
        top, rest = [rows[i] for i in order[:n]], [rows[i] for i in order[n:]]
        npu = 0
        if top:
            loads = sum(load(row) for row in top)
            cached = sum(row.gpu_ps for row in top if row.resident)
            if top[-1].resident:
                cached -= top[-1].gpu_ps
            npu = max(loads, cached) + top[-1].gpu_ps if loads else sum(r.gpu_ps for r in top)
        pim = sum(row.near_ps for row in rest) + activations if rest else 0
        found.append((n, set(order[:n]), npu, pim, max(npu, pim)))
    return min(found, key=lambda config: config[4])


rows = st.lists(
    st.builds(
        expert,
        st.integers(1, 30),
        st.integers(1, 200),
        st.integers(1, 100),
        st.integers(1, 300),
        cached=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(rows=rows, activations=st.integers(0, 50), reuse=st.booleans())
def test_split_experts_and_total_equal_the_published_rule(rows, activations, reuse):
    view = CostTable(tuple(rows), "decode", activations_ps=activations)
    rule = Exhaustive(reuse=reuse)
    n, experts, npu, pim, layer = rule_again(rows, activations, by_benefit=reuse)
    best = min(rule.splits(view, rule.order(view)), key=lambda split: split.layer_ps)
    assert (best.n_gpu, best.gpu_ps, best.near_ps, best.layer_ps) == (n, npu, pim, layer)
    assert set(rule.plan(view).gpu) == experts


def test_its_cache_holds_16_per_layer_and_drops_the_least_used():
    """Counts outlive eviction, as in the published notebook."""
    state = Lfu(size=2).start(FakeRoom(8, n_moe_layers=2, n_experts=9))
    assert [state.admit((0, e), prefetched=False) for e in (1, 2)] == [None, None]
    state.touch((0, 2))
    assert state.admit((0, 3), prefetched=False) == (0, 1)
    assert state.admit((0, 1), prefetched=False) == (0, 3), "used twice by now"
    assert state.admit((1, 3), prefetched=False) is None, "another layer"


def test_all_subsets_of_equal_experts_are_no_better_than_the_split():
    """With equal experts only their number matters, so trying all N tries all sets."""
    same = tuple(expert(1, 50, 10, 40) for _ in range(6))
    view = CostTable(same, activations_ps=5)
    rule = Exhaustive()
    best = min(split.layer_ps for split in rule.splits(view, rule.order(view)))
    totals = [
        max(50 * n + 10 * (n > 0), (40 * (6 - n) + 5) * (n < 6))
        for n in range(7)
        for _ in combinations(range(6), n)
    ]
    assert best == min(totals)


def notebook_decode(stages, size, activations):
    """The published decode loop with its cache, written down again: (layer, set on NPU, total)."""
    cache, used, found = {}, {}, []
    for layer, costs in stages:
        held, freq = cache.setdefault(layer, set()), used.setdefault(layer, {})
        rows = [expert_now(costs[e], cached=e in held) for e in costs]
        _, chosen, _, _, total = rule_again(rows, activations, by_benefit=True)
        on_npu = {list(costs)[i] for i in chosen}
        found.append((layer, on_npu, total))
        for e in on_npu:
            freq[e] = freq.get(e, 0) + 1
            held.add(e)
        for e in sorted(held, key=lambda e: (freq[e], e))[: max(0, len(held) - size)]:
            held.remove(e)
    return found


def expert_now(row, *, cached):
    return expert(row.n_tokens, row.fetch_ps, row.gpu_ps, row.near_ps, cached=cached)


costs = st.builds(
    expert, st.integers(1, 9), st.integers(1, 200), st.integers(1, 60), st.integers(1, 200)
)
steps = st.lists(
    st.tuples(st.integers(0, 1), st.dictionaries(st.integers(0, 9), costs, min_size=1, max_size=6)),
    max_size=12,
)


@given(stages=steps, size=st.integers(1, 5), activations=st.integers(0, 40))
def test_decode_with_its_cache_equals_the_published_loop(stages, size, activations):
    room = FakeRoom(40, n_moe_layers=2, n_experts=10)
    rule = Exhaustive(reuse=True)
    ours = []
    for stage in replay(rule, Lfu(size=size), room, stages, activations_ps=activations):
        splits = rule.splits(stage.table, rule.order(stage.table))
        ours.append((stage.layer, set(stage.gpu), min(split.layer_ps for split in splits)))
    assert ours == notebook_decode(stages, size, activations)
