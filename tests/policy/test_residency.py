"""Prefetch and cache: what is brought to the GPU, what stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.policy.cache.lru import Lru
from ndpsim.policy.cache.none import NoCache
from ndpsim.policy.cache.pinned import Pinned
from ndpsim.policy.prefetch.none import NoPrefetch
from ndpsim.policy.prefetch.prefill_frequency import PrefillFrequency
from ndpsim.testing import FakeRoom, rooms, routings

LAYER0 = [[0, 1], [1, 2], [1, 2]]
LAYER1 = [[3, 0], [0, 3], [3, -1]]


def loads(policy, room, *layers):
    state = policy.start(room)
    for layer, ids in enumerate(layers):
        state.observe(layer, np.array(ids, dtype=np.int16), None)
    return list(state.loads("prefill"))


def two_layers(capacity):
    return FakeRoom(capacity, n_moe_layers=2)


def test_no_prefetch_asks_for_nothing():
    assert not NoPrefetch().watches
    assert loads(NoPrefetch(), two_layers(8), LAYER0, LAYER1) == []


def test_prefill_frequency_loads_the_favourite_of_each_layer():
    assert loads(PrefillFrequency(), two_layers(8), LAYER0, LAYER1) == [(0, 1), (1, 3)]


def test_prefill_frequency_loads_all_favourites_before_second_choices():
    assert loads(PrefillFrequency(count=2), two_layers(8), LAYER0, LAYER1) == [
        (0, 1),
        (1, 3),
        (0, 2),
        (1, 0),
    ]


def test_prefill_frequency_breaks_ties_by_the_lower_expert():
    assert loads(PrefillFrequency(count=2), two_layers(8), [[3, 1], [2, 0]]) == [(0, 0), (0, 1)]


def test_prefill_frequency_never_loads_what_prefill_did_not_select():
    assert loads(PrefillFrequency(count=4), two_layers(8), LAYER0) == [(0, 1), (0, 2), (0, 0)]


@pytest.mark.parametrize(
    ("count", "capacity", "n_loaded"),
    [(1, 8, 2), (3, 8, 5), (3, 3, 3), (3, 1, 1), (3, 0, 0), ("fit", 5, 4), ("fit", 1, 1)],
)
def test_prefill_frequency_loads_no_more_than_fits(count, capacity, n_loaded):
    policy = PrefillFrequency(count=count)
    assert len(loads(policy, two_layers(capacity), LAYER0, LAYER1)) == n_loaded


def test_prefill_frequency_adds_up_chunks_of_a_prefill():
    state = PrefillFrequency().start(two_layers(2))
    state.observe(0, np.array([[0, 3]], dtype=np.int16), None)
    assert list(state.loads("prefill")) == [(0, 0)]
    state.observe(0, np.array([[3, 2]], dtype=np.int16), None)
    assert list(state.loads("prefill")) == [(0, 3)]


@given(rooms(), st.integers(1, 5), st.data())
def test_loaded_experts_were_selected_at_least_as_often_as_others_of_their_layer(view, count, data):
    routed = data.draw(routings(view))
    named = loads(
        PrefillFrequency(count=count), view, *(routed[:, i] for i in range(view.n_moe_layers))
    )
    assert len(named) <= view.capacity
    for layer, expert in named:
        selected = np.bincount(routed[:, layer][routed[:, layer] >= 0], minlength=view.n_experts)
        others = {e for e in range(view.n_experts) if (layer, e) not in named}
        assert all(selected[expert] >= selected[other] for other in others)


@pytest.mark.parametrize("count", [0, -1, "all", 1.5])
def test_a_count_is_positive_or_fit(count):
    with pytest.raises(ValueError, match="count"):
        PrefillFrequency(count=count)


# --- caches --------------------------------------------------------------------------------------


def lives(state, *experts, prefetched=False):
    return [state.admit(expert, prefetched=prefetched) for expert in experts]


def test_no_cache_refuses_everything():
    assert lives(NoCache().start(FakeRoom(9)), (0, 0), (1, 1)) == ["refuse", "refuse"]


def test_pinned_keeps_what_was_prefetched_until_it_is_full():
    state = Pinned().start(FakeRoom(2))
    assert lives(state, (0, 0), (1, 1), (2, 2), prefetched=True) == [None, None, "refuse"]


def test_pinned_drops_what_was_fetched():
    assert lives(Pinned().start(FakeRoom(2)), (0, 0)) == ["refuse"]


def test_lru_evicts_what_was_not_used_for_longest():
    state = Lru(scope="global").start(FakeRoom(2))
    assert lives(state, (0, 0), (1, 0)) == [None, None]
    state.touch((0, 0))
    assert lives(state, (2, 0), (2, 1)) == [(1, 0), (0, 0)]


def test_lru_keeps_layers_apart():
    state = Lru().start(FakeRoom(4, n_moe_layers=2))
    assert lives(state, (0, 0), (0, 1), (1, 0), (0, 2)) == [None, None, None, (0, 0)]


def test_lru_gives_what_does_not_divide_to_the_first_layers():
    state = Lru().start(FakeRoom(3, n_moe_layers=2))
    assert lives(state, (0, 0), (0, 1), (1, 0), (1, 1)) == [None, None, None, (1, 0)]
    state = Lru().start(FakeRoom(1, n_moe_layers=2))
    assert lives(state, (0, 0), (1, 0)) == [None, "refuse"]


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=40),
    st.booleans(),
)
def test_lru_holds_the_most_recently_used_of_each_list(capacity, uses, by_layer):
    """A least-recently-used list, written down as the last distinct uses."""
    room = FakeRoom(2 * capacity if by_layer else capacity, n_moe_layers=2)
    state = Lru(scope="layer" if by_layer else "global").start(room)
    held = set()
    for n, expert in enumerate(uses):
        if expert in held:
            state.touch(expert)
        else:
            victim = state.admit(expert, prefetched=False)
            held.add(expert)
            held.discard(victim)
        for layer in (0, 1) if by_layer else (None,):
            recent = [e for e in reversed(uses[: n + 1]) if layer in (None, e[0])]
            expected = list(dict.fromkeys(recent))[:capacity]
            assert {e for e in held if layer in (None, e[0])} == set(expected)
