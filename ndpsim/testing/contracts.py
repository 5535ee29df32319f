"""What every policy promises, as test classes to subclass."""

from copy import deepcopy
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ndpsim.policy import (
    Cache,
    CacheState,
    Dispatch,
    ExpertId,
    LookaheadState,
    Partition,
    Phase,
    Prefetch,
    PrefetchState,
    PreloadState,
    Verdict,
    WatchingState,
)
from ndpsim.testing.fakes import FakeRoom, FakeStage, FakeUnits
from ndpsim.testing.strategies import rooms, routings, stages, unit_sets

# A policy is immutable, so one instance may serve all examples; a law runs in many subclasses.
_law = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class PolicyContract:
    """What policies of all kinds promise."""

    @pytest.fixture
    def policy(self) -> Any:
        """The policy under test."""
        raise NotImplementedError("give the contract a policy: override the fixture 'policy'")

    def test_it_is_its_own_configuration(self, policy: Any) -> None:
        """Its fields, written and read again, make an equal policy with an equal hash."""
        fields = policy.model_dump(mode="json")
        assert fields.pop("policy") == policy.name
        again = type(policy).model_validate(fields)
        assert again == policy
        assert hash(again) == hash(policy)

    def test_it_explains_itself_and_its_source(self, policy: Any) -> None:
        """`ndpsim list` shows the first line of its docstring; results cite its source."""
        assert (type(policy).__doc__ or "").strip()
        assert policy.source


class PartitionContract(PolicyContract):
    """Every expert has a home that holds all of it, in pieces the units can compute."""

    @_law
    @given(view=unit_sets())
    def test_every_expert_has_a_home(self, policy: Partition, view: FakeUnits) -> None:
        """An index into the homes for every (layer, expert)."""
        placement = policy.place(view)
        assert placement.home_of.shape == (view.n_moe_layers, view.n_experts)
        assert np.issubdtype(placement.home_of.dtype, np.integer)
        assert 0 <= placement.home_of.min() <= placement.home_of.max() < len(placement.homes)

    @_law
    @given(view=unit_sets())
    def test_a_home_holds_a_whole_expert(self, policy: Partition, view: FakeUnits) -> None:
        """No column is missing; each shard is padded by less than one group."""
        for home in policy.place(view).homes:
            n_columns = sum(shard.columns for shard in home.shards)
            assert n_columns >= view.d_expert
            assert n_columns < view.d_expert + view.slice_granularity * len(home.shards)

    @_law
    @given(view=unit_sets())
    def test_a_shard_is_whole_groups_on_a_memory_of_the_machine(
        self, policy: Partition, view: FakeUnits
    ) -> None:
        """At most one shard per memory, none of them empty."""
        memories = {"ndp": view.units, "host": (view.host,), "gpu": (view.gpu,)}[policy.on]
        for home in policy.place(view).homes:
            units = [shard.unit for shard in home.shards]
            assert len(set(units)) == len(units) > 0
            assert set(units) <= set(memories)
            assert all(shard.columns > 0 for shard in home.shards)
            if len(home.shards) > 1:
                assert all(shard.columns % view.slice_granularity == 0 for shard in home.shards)

    @_law
    @given(view=unit_sets())
    def test_homes_have_names_of_their_own(self, policy: Partition, view: FakeUnits) -> None:
        """Results name homes."""
        names = [home.name for home in policy.place(view).homes]
        assert len(set(names)) == len(names)

    @_law
    @given(view=unit_sets())
    def test_equal_views_get_equal_placements(self, policy: Partition, view: FakeUnits) -> None:
        """Placement is deterministic."""
        one, other = policy.place(view), policy.place(deepcopy(view))
        assert one.homes == other.homes
        assert np.array_equal(one.home_of, other.home_of)


class DispatchContract(PolicyContract):
    """A plan covers every slot once and depends on nothing but the view."""

    @_law
    @given(view=stages())
    def test_a_plan_covers_each_slot_exactly_once(self, policy: Dispatch, view: FakeStage) -> None:
        """On the GPU or near its home."""
        plan = policy.plan(view)
        assert sorted((*plan.gpu, *plan.near, *plan.cpu)) == list(range(len(view.slots)))

    @_law
    @given(view=stages())
    def test_equal_views_get_equal_plans(self, policy: Dispatch, view: FakeStage) -> None:
        """Whatever was planned before."""
        plan = policy.plan(view)
        policy.plan(FakeStage(view.slots[::-1], view.homes))
        assert policy.plan(deepcopy(view)) == plan

    @_law
    @given(view=stages())
    def test_a_plan_changes_nothing_it_sees(self, policy: Dispatch, view: FakeStage) -> None:
        """The view is read only."""
        before = deepcopy(view)
        policy.plan(view)
        assert view == before

    @_law
    @given(view=stages())
    def test_units_are_used_only_if_it_says_so(self, policy: Dispatch, view: FakeStage) -> None:
        """`near` decides which machines can serve it."""
        assert policy.near or not policy.plan(view).near

    @_law
    @given(view=stages())
    def test_the_cpu_is_used_only_if_it_says_so(self, policy: Dispatch, view: FakeStage) -> None:
        """`cpu` is shown among a scheduler's devices."""
        assert policy.cpu or not policy.plan(view).cpu

    def test_a_decision_takes_whole_picoseconds(self, policy: Dispatch) -> None:
        """More for more experts, never negative."""
        times = [policy.decision_ps(n_active) for n_active in range(20)]
        assert all(isinstance(time_ps, int) and time_ps >= 0 for time_ps in times)
        assert times == sorted(times)


class PrefetchContract(PolicyContract):
    """Loads name experts of the model, and follow from what was seen."""

    @_law
    @given(view=rooms(), data=st.data())
    def test_loads_are_distinct_experts_of_the_model(
        self, policy: Prefetch, view: FakeRoom, data: st.DataObject
    ) -> None:
        """After every step that it watches."""
        for loads in _watch(policy, policy.start(view), data.draw(_requests(view))):
            assert len(set(loads)) == len(loads)
            for layer, expert in loads:
                assert type(layer) is int
                assert 0 <= layer < view.n_moe_layers
                assert type(expert) is int
                assert 0 <= expert < view.n_experts

    @_law
    @given(view=rooms(), data=st.data())
    def test_equal_routing_gets_equal_loads_in_every_run(
        self, policy: Prefetch, view: FakeRoom, data: st.DataObject
    ) -> None:
        """A run starts afresh and does not touch what it is shown."""
        request = data.draw(_requests(view))
        shown = deepcopy(request)
        first = _watch(policy, policy.start(view), shown)
        assert _watch(policy, policy.start(view), request) == first
        for (_, seen), (_, routed) in zip(shown, request, strict=True):
            assert np.array_equal(seen, routed)


Request = list[tuple[Phase, NDArray[np.int16]]]
"""Steps: (phase, what each layer routed to)."""


@st.composite
def _requests(draw: st.DrawFn, view: FakeRoom) -> Request:
    """A prefill step and some decode steps."""
    n_decode = draw(st.integers(0, 3))
    steps: Request = [("prefill", draw(routings(view)))]
    return steps + [("decode", draw(routings(view, max_tokens=1))) for _ in range(n_decode)]


def _watch(policy: Prefetch, state: PrefetchState, request: Request) -> list[list[ExpertId]]:
    """Show a request as the machine does; the loads of each step, and before the first."""
    answers: list[list[ExpertId]] = []
    if policy.preloads:
        answers.append(list(cast(PreloadState, state).preloads()))
    for phase, routed in request:
        weights = np.full(routed.shape, 0.5, dtype=np.float16)
        if policy.lookahead:
            for layer in range(policy.lookahead, routed.shape[1]):
                ahead = cast(LookaheadState, state).ahead(layer, routed[:, layer])
                assert {expert[0] for expert in ahead} <= {layer}
                answers.append(list(ahead))
        if phase in policy.watches:
            for layer in range(routed.shape[1]):
                state.observe(layer, routed[:, layer], weights[:, layer])
            answers.append(list(state.loads(phase)))
    return answers


Event = tuple[str, ExpertId]
"""What happens to an expert: prefetched, fetched or used."""


class CacheContract(PolicyContract):
    """Never more experts than fit, and answers that can be obeyed."""

    @_law
    @given(view=rooms(), data=st.data())
    def test_it_never_holds_more_than_fits(
        self, policy: Cache, view: FakeRoom, data: st.DataObject
    ) -> None:
        """Whatever arrives and is used; it evicts only what it holds."""
        held: set[ExpertId] = set()
        for (_, expert), verdict in _live(policy, policy.start(view), data.draw(_lives(view))):
            if verdict != "refuse":
                if verdict is not None:
                    assert verdict in held
                    held.remove(verdict)
                held.add(expert)
            assert len(held) <= view.capacity

    @_law
    @given(view=rooms(), data=st.data())
    def test_it_keeps_only_what_it_says_it_keeps(
        self, policy: Cache, view: FakeRoom, data: st.DataObject
    ) -> None:
        """`keeps_prefetched` and `keeps_fetched` hold for every arrival."""
        for (event, _), verdict in _live(policy, policy.start(view), data.draw(_lives(view))):
            if event == "prefetched" and not policy.keeps_prefetched:
                assert verdict == "refuse"
            if event == "fetched" and not policy.keeps_fetched:
                assert verdict == "refuse"

    @_law
    @given(view=rooms(), data=st.data())
    def test_equal_lives_get_equal_answers_in_every_run(
        self, policy: Cache, view: FakeRoom, data: st.DataObject
    ) -> None:
        """A run starts afresh."""
        life = data.draw(_lives(view))
        assert _live(policy, policy.start(view), life) == _live(policy, policy.start(view), life)


def _lives(view: FakeRoom) -> st.SearchStrategy[list[Event]]:
    """Events in any order; those that make no sense for an expert are skipped when lived."""
    experts = st.tuples(st.integers(0, view.n_moe_layers - 1), st.integers(0, view.n_experts - 1))
    events = st.sampled_from(("prefetched", "fetched", "fetched", "used"))
    return st.lists(st.tuples(events, experts), max_size=40)


def _live(policy: Cache, state: CacheState, life: list[Event]) -> list[tuple[Event, Verdict]]:
    """Report a life as the machine does: (arrival, verdict) of each arrival."""
    held: set[ExpertId] = set()
    answers: list[tuple[Event, Verdict]] = []
    for event, expert in life:
        if policy.watches and event != "prefetched":
            cast(WatchingState, state).observe(expert[0], [(expert[1], 1)])
        if event == "used":
            if expert in held and policy.keeps_fetched:
                state.touch(expert)
        elif expert not in held:
            verdict = state.admit(expert, prefetched=event == "prefetched")
            answers.append(((event, expert), verdict))
            if verdict != "refuse":
                held.add(expert)
                if verdict is not None:
                    held.discard(verdict)
    return answers
