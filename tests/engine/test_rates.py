"""Laws of max-min fair rates inside strict priority classes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.engine import max_min_rates
from ndpsim.engine.flows import max_min_shares

NAMES = ("pcie", "ch0", "ch1", "ranks")
LEAST = 50
"""Bytes per second that every resource has at least: more than there are flows."""

routes = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple)
capacities = st.fixed_dictionaries({name: st.integers(LEAST, 10**12) for name in NAMES})
one_class = st.lists(st.tuples(routes, st.just(0)), min_size=1, max_size=7)
classes = st.lists(st.tuples(routes, st.integers(0, 2)), min_size=1, max_size=7)
exclusives = st.frozensets(st.sampled_from(NAMES))


def load(flows, rates):
    """Bytes per second over each resource."""
    total = Counter()
    for (route, _), rate in zip(flows, rates, strict=True):
        for resource in route:
            total[resource] += rate
    return total


@pytest.mark.parametrize(
    ("flows", "rates"),
    [
        ([(("a",), 0)], [90]),
        ([(("a",), 0)] * 4, [22] * 4),
        ([(("a", "b"), 0), (("b",), 0)], [30, 30]),
        ([(("a",), 0), (("a", "b"), 0), (("b",), 0)], [60, 30, 30]),
        ([(("a", "a"), 0), (("a",), 0)], [30, 30]),
        ([(("a",), 1), (("a",), 0)], [0, 90]),
        ([*[(("a",), 0)] * 4, (("a",), 1)], [22, 22, 22, 22, 0]),
        ([(("b", "a"), 0), (("a",), 1)], [60, 30]),
    ],
)
def test_rates_of_small_cases(flows, rates):
    assert max_min_rates(flows, {"a": 90, "b": 60}) == rates


def test_exclusive_resource_serves_the_first_class_only():
    flows = [(("a", "b"), 0), (("a",), 1), (("b",), 1)]
    assert max_min_rates(flows, {"a": 90, "b": 60}, frozenset({"a"})) == [60, 0, 0]


def test_exclusive_resource_is_free_for_others_when_the_first_class_stands_still():
    """A blocked flow occupies nothing, although it is of a higher class."""
    flows = [(("b",), 0), (("a", "b"), 1), (("a",), 2)]
    assert max_min_rates(flows, {"a": 90, "b": 60}, frozenset({"a"})) == [60, 0, 90]


@given(classes, capacities, exclusives)
def test_no_resource_carries_more_than_its_capacity(flows, capacity, exclusive):
    carried = load(flows, max_min_rates(flows, capacity, exclusive))
    assert all(carried[name] <= capacity[name] for name in NAMES)


@given(one_class, capacities)
def test_no_flow_starves_inside_a_class(flows, capacity):
    assert min(max_min_rates(flows, capacity)) > 0


@given(one_class, capacities)
def test_no_rate_can_rise_without_lowering_one_that_is_not_higher(flows, capacity):
    """Each flow crosses a resource that is full up to floors, on which no flow is faster."""
    rates = max_min_rates(flows, capacity)
    carried = load(flows, rates)
    n_users = load(flows, [1] * len(flows))
    for (route, _), rate in zip(flows, rates, strict=True):
        assert any(
            carried[name] + n_users[name] > capacity[name]
            and all(r <= rate for (other, _), r in zip(flows, rates, strict=True) if name in other)
            for name in route
        )


@given(classes, capacities, exclusives)
def test_lower_classes_never_change_the_rates_of_higher_ones(flows, capacity, exclusive):
    rates = max_min_rates(flows, capacity, exclusive)
    for top in (0, 1):
        alone = [flow for flow in flows if flow[1] <= top]
        together = [rate for flow, rate in zip(flows, rates, strict=True) if flow[1] <= top]
        assert max_min_rates(alone, capacity, exclusive) == together


@given(classes, capacities, exclusives)
def test_an_exclusive_resource_carries_one_class(flows, capacity, exclusive):
    rates = max_min_rates(flows, capacity, exclusive)
    for name in exclusive:
        moving = {
            p for (route, p), rate in zip(flows, rates, strict=True) if rate and name in route
        }
        assert len(moving) <= 1


@given(classes, capacities, st.randoms(use_true_random=False))
def test_order_of_flows_does_not_matter(flows, capacity, random):
    order = list(range(len(flows)))
    random.shuffle(order)
    rates = max_min_rates(flows, capacity)
    assert max_min_rates([flows[i] for i in order], capacity) == [rates[i] for i in order]


@given(one_class, capacities)
def test_the_named_limit_lies_on_the_route_and_is_full(flows, capacity):
    shares = max_min_shares(flows, capacity)
    carried = load(flows, [share.rate for share in shares])
    n_users = load(flows, [1] * len(flows))
    for (route, _), share in zip(flows, shares, strict=True):
        assert share.limit in route
        assert carried[share.limit] + n_users[share.limit] > capacity[share.limit]
