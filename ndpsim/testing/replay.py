"""Dispatch and cache on explicit costs, stage after stage, without a machine."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from ndpsim.policy import Cache, CostTable, Dispatch, ExpertCost, Phase, Plan, WatchingState
from ndpsim.testing.fakes import FakeRoom


@dataclass(frozen=True)
class Stage:
    """What was decided for one layer of one step."""

    layer: int
    experts: tuple[int, ...]
    """Expert of each row of the table."""
    table: CostTable
    """The costs, with residency as the cache had it."""
    plan: Plan

    @property
    def gpu(self) -> tuple[int, ...]:
        """Experts on the GPU, in order of execution."""
        return tuple(self.experts[index] for index in self.plan.gpu)


def replay(
    dispatch: Dispatch,
    cache: Cache,
    room: FakeRoom,
    stages: Iterable[tuple[int, Mapping[int, ExpertCost]]],
    *,
    phase: Phase = "decode",
    activations_ps: int = 0,
) -> Iterator[Stage]:
    """Decide stage after stage, as the machine would ask: dispatch, then the cache.

    Parameters
    ----------
    room
        Layers, experts and how many fit; the cache starts empty.
    stages
        (layer, cost of each active expert), in order; `resident` of a cost is set here.
    """
    state = cache.start(room)
    held: set[tuple[int, int]] = set()
    for layer, costs in stages:
        experts = tuple(costs)
        rows = [replace(costs[e], resident=(layer, e) in held) for e in experts]
        table = CostTable(tuple(rows), phase, activations_ps)
        if cache.watches:
            active = [(e, costs[e].n_tokens) for e in experts]
            cast(WatchingState, state).observe(layer, active)
        stage = Stage(layer, experts, table, dispatch.plan(table))
        yield stage
        if not cache.keeps_fetched:
            continue
        for expert in stage.gpu:
            if (layer, expert) in held:
                state.touch((layer, expert))
        fetched = [i for i in stage.plan.gpu if not rows[i].resident]
        for expert in (experts[index] for index in fetched):
            verdict = state.admit((layer, expert), prefetched=False)
            if verdict != "refuse":
                held.add((layer, expert))
                if verdict is not None:
                    held.discard(verdict)
