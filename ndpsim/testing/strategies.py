"""Hypothesis strategies for what policies see."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ndpsim.policy import Slot
from ndpsim.testing.fakes import FakeRoom, FakeStage, FakeUnits


def unit_sets() -> st.SearchStrategy[FakeUnits]:
    """One to eight units; experts that divide evenly, unevenly, or into fewer groups than units."""
    return st.builds(
        FakeUnits,
        n_units=st.integers(1, 8),
        n_moe_layers=st.integers(1, 3),
        n_experts=st.integers(1, 20),
        d_expert=st.integers(1, 2000),
        slice_granularity=st.sampled_from((1, 16, 100)),
    )


@st.composite
def stages(draw: st.DrawFn, max_slots: int = 8) -> FakeStage:
    """Active experts whole on units or cut over all of them, with any costs."""
    units = tuple(f"ndp{index}" for index in range(draw(st.integers(1, 4))))
    homes = draw(st.sampled_from((tuple((unit,) for unit in units), (units,))))
    slots = st.builds(
        Slot,
        home=st.integers(0, len(homes) - 1),
        resident=st.booleans(),
        n_tokens=st.integers(1, 40),
    )
    picoseconds = st.integers(1, 300)
    return FakeStage(
        slots=tuple(draw(st.lists(slots, max_size=max_slots))),
        homes=homes,
        phase=draw(st.sampled_from(("prefill", "decode"))),
        gpu_base_ps=draw(picoseconds),
        gpu_token_ps=draw(st.integers(0, 20)),
        copy_ps=draw(picoseconds),
        near_base_ps=draw(picoseconds),
        near_token_ps=draw(st.integers(0, 20)),
        cpu_base_ps=draw(picoseconds),
        cpu_token_ps=draw(st.integers(0, 20)),
        blocks=draw(st.booleans()),
        link_bytes_per_s=draw(picoseconds),
        near_bytes_per_s=draw(picoseconds),
    )


def rooms() -> st.SearchStrategy[FakeRoom]:
    """From no room at all to room for every expert."""
    return st.builds(
        FakeRoom,
        capacity=st.one_of(st.integers(0, 3), st.integers(0, 20)),
        n_moe_layers=st.integers(1, 4),
        n_experts=st.integers(1, 5),
    )


@st.composite
def routings(draw: st.DrawFn, view: FakeRoom, max_tokens: int = 6) -> NDArray[np.int16]:
    """What one step routed: distinct ids per token and layer, or -1.

    Shape (n_tokens, n_moe_layers, top_k).
    """
    n_tokens, top_k = draw(st.integers(1, max_tokens)), draw(st.integers(1, view.n_experts))
    chosen = st.permutations(range(view.n_experts)).map(lambda ids: ids[:top_k])
    rows = st.one_of(chosen, st.just([-1] * top_k))
    n_rows = n_tokens * view.n_moe_layers
    ids = draw(st.lists(rows, min_size=n_rows, max_size=n_rows))
    return np.array(ids, dtype=np.int16).reshape(n_tokens, view.n_moe_layers, top_k)
