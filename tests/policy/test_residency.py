"""Prefetch and cache: what is brought to the GPU, what stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.policy.cache.belady import Belady
from ndpsim.policy.cache.fifo import Fifo
from ndpsim.policy.cache.lfu import Lfu
from ndpsim.policy.cache.lru import Lru
from ndpsim.policy.cache.none import NoCache
from ndpsim.policy.cache.pinned import Pinned
from ndpsim.policy.cache.staged_lru import StagedLru
from ndpsim.policy.cache.workload import Workload
from ndpsim.policy.prefetch.next_gate import NextGate
from ndpsim.policy.prefetch.none import NoPrefetch
from ndpsim.policy.prefetch.oracle import Oracle
from ndpsim.policy.prefetch.prefill_frequency import PrefillFrequency
from ndpsim.policy.prefetch.prefill_importance import PrefillImportance
from ndpsim.policy.prefetch.profile import Profile
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


# --- more prefetches -----------------------------------------------------------------------------

SKEWED = [[0, 1]] * 6 + [[0, 2]] * 3 + [[0, 3]]
"""Of 20 choices: 10 expert 0, 6 expert 1, 3 expert 2, 1 expert 3."""


@pytest.mark.parametrize(
    ("gpu_ps", "home_ps", "n_loaded"),
    [
        (1, 1000, 4),  # the GPU is free: everything that was used
        (1000, 1, 0),  # home is free: nothing
        (10, 10, 1),  # half the choices each
        (10, 30, 2),  # max(16 x 10, 4 x 30) beats max(10 x 10, 10 x 30) and max(19 x 10, 30)
    ],
)
def test_adaptive_stops_where_the_gpu_would_become_the_slower_side(gpu_ps, home_ps, n_loaded):
    room = FakeRoom(9, n_moe_layers=1, gpu_ps=gpu_ps, home_ps=home_ps)
    assert loads(PrefillFrequency(count="adaptive"), room, SKEWED) == [
        (0, expert) for expert in range(n_loaded)
    ]


def test_adaptive_takes_the_most_useful_of_all_layers_while_memory_lasts():
    room = FakeRoom(3, n_moe_layers=2, gpu_ps=1, home_ps=1000)
    assert loads(PrefillFrequency(count="adaptive"), room, SKEWED, SKEWED) == [
        (0, 0),
        (1, 0),
        (0, 1),
    ]


def importance(alpha, ids, weights):
    state = PrefillImportance(alpha=alpha, count=2).start(FakeRoom(9, n_moe_layers=1))
    state.observe(0, np.array(ids, dtype=np.int16), np.array(weights, dtype=np.float16))
    return [expert for _, expert in state.loads("prefill")]


def test_importance_weighs_counts_against_router_weights():
    """Counts 3, 1, 1; weights 0.75, 2, 0.25: shares (1, 1/3, 1/3) and (0.375, 1, 0.125)."""
    ids, weights = [[0, 1], [0, -1], [0, 2]], [[0.25, 2.0], [0.25, 0.0], [0.25, 0.25]]
    assert importance(1.0, ids, weights) == [0, 1]
    assert importance(0.0, ids, weights) == [1, 0]
    assert importance(0.5, ids, weights) == [0, 1]
    assert importance(0.4, ids, weights) == [1, 0]


def test_importance_needs_weights_unless_only_counts_matter():
    assert PrefillImportance().needs == {"weights"}
    assert not PrefillImportance(alpha=1).needs


def test_a_profile_fills_the_gpu_with_the_most_popular_of_the_whole_model():
    room = FakeRoom(4, n_moe_layers=2)
    counts = room.profile
    state = Profile().start(room)
    chosen = state.preloads()
    assert len(chosen) == 4
    least = min(counts[pair] for pair in chosen)
    rest = [counts[i, e] for i in range(2) for e in range(4) if (i, e) not in chosen]
    assert least >= max(rest)
    assert Profile().needs == {"profile"}


def test_a_profile_may_hold_as_many_of_each_layer():
    chosen = Profile(count=1).start(FakeRoom(9, n_moe_layers=2)).preloads()
    assert [layer for layer, _ in chosen] == [0, 1]


def test_an_oracle_loads_what_decode_will_use_and_prefill_did_not():
    future = tuple(np.array([[[e]]], dtype=np.int16) for e in (0, 3, 3, 1))
    room = FakeRoom(9, n_moe_layers=1, routed=future, gpu_ps=1, home_ps=1000)
    assert list(Oracle(count=2).start(room).loads("prefill")) == [(0, 3), (0, 1)]
    assert Oracle().needs == {"future"}


def test_an_oracle_of_a_request_without_decode_loads_nothing():
    room = FakeRoom(9, n_moe_layers=1, routed=(np.zeros((2, 1, 1), dtype=np.int16),))
    assert list(Oracle().start(room).loads("prefill")) == []


def test_the_next_gates_experts_come_by_tokens_then_by_rank():
    state = NextGate(recall=1.0).start(FakeRoom(9))
    predicted = np.array([[5, 2], [2, 7], [2, 7]], dtype=np.int16)
    assert list(state.ahead(1, predicted)) == [(1, 2), (1, 7), (1, 5)]
    assert list(state.ahead(2, np.array([[5, -1, 2]], dtype=np.int16))) == [(2, 5), (2, 2)]


def test_the_next_gate_may_bring_only_the_likeliest():
    state = NextGate(count=1).start(FakeRoom(9))
    assert list(state.ahead(1, np.array([[5, 2]], dtype=np.int16))) == [(1, 5)]


def test_the_next_gate_needs_predictions_unless_a_recall_makes_them_up():
    assert NextGate().needs == {"predicted"}
    assert not NextGate(recall=0.9).needs


# --- more caches ---------------------------------------------------------------------------------


def test_fifo_evicts_what_came_first_however_used():
    state = Fifo(scope="global").start(FakeRoom(2))
    lives(state, (0, 0), (1, 0))
    state.touch((0, 0))
    assert lives(state, (2, 0)) == [(0, 0)]


def test_lfu_keeps_what_is_used_often_and_remembers_what_left():
    state = Lfu(scope="global").start(FakeRoom(2))
    assert lives(state, (0, 0), (0, 1)) == [None, None]
    state.touch((0, 0))
    state.touch((0, 0))
    assert lives(state, (0, 2)) == [(0, 1)]
    assert lives(state, (0, 1)) == [(0, 2)], "its second use counts"


def test_lfu_does_not_count_a_prefetch_as_a_use():
    state = Lfu(scope="global").start(FakeRoom(1))
    assert lives(state, (0, 0)) == [None]
    assert lives(state, (0, 1), prefetched=True) == ["refuse"]


def test_workload_keeps_what_had_most_tokens_of_late():
    state = Workload(fade=0.5).start(FakeRoom(2, n_moe_layers=1))
    state.observe(0, [(0, 8), (1, 1)])
    assert lives(state, (0, 0), (0, 1)) == [None, None]
    state.observe(0, [(2, 3)])
    assert lives(state, (0, 2)) == [(0, 1)], "8 has faded to 4, 1 to a half"
    state.observe(0, [(3, 1)])
    assert lives(state, (0, 3)) == ["refuse"], "it has 1, the others 2 and 1.5"


def test_workload_scores_survive_any_number_of_steps():
    state = Workload(fade=0.01).start(FakeRoom(1, n_moe_layers=1))
    for step in range(400):
        state.observe(0, [(step % 3, 1)])
    assert lives(state, (0, 0), (0, 2)) == [None, "refuse"], "0 was used last"


def test_a_staged_expert_drives_out_nothing_until_it_is_used():
    """Room for four: two lists of one, a buffer of two."""
    state = StagedLru(staging=2).start(FakeRoom(4, n_moe_layers=2))
    assert lives(state, (0, 0), (1, 0)) == [None, None]
    assert lives(state, (0, 1), (0, 2), prefetched=True) == [None, None]
    assert lives(state, (0, 3), prefetched=True) == [(0, 1)], "the buffer's first leaves"
    state.touch((0, 2))
    assert lives(state, (1, 1), prefetched=True) == [(0, 0)], "layer 0 had grown by a used one"
    assert lives(state, (0, 5)) == [(0, 2)], "its list holds one again"


@given(room=st.integers(1, 4), uses=st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_belady_misses_no_more_than_any_other_cache(room, uses):
    """On-demand uses of single experts in one layer."""
    routed = tuple(np.array([[[use]]], dtype=np.int16) for use in uses)
    view = FakeRoom(room, n_moe_layers=1, n_experts=6, routed=routed)
    misses = {}
    for policy in (Belady(), Lru(), Lfu(), Fifo(), Workload()):
        state, held, misses[policy.name] = policy.start(view), set(), 0
        for expert in uses:
            if policy.watches:
                state.observe(0, [(expert, 1)])
            if (0, expert) in held:
                state.touch((0, expert))
                continue
            misses[policy.name] += 1
            verdict = state.admit((0, expert), prefetched=False)
            if verdict != "refuse":
                held.add((0, expert))
                held.discard(verdict)
        assert len(held) <= room
    assert misses["belady"] == min(misses.values())
