"""The double-buffered pipeline against a simulation of its two buffers."""

from itertools import accumulate, pairwise

import simpy
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.ndp.unit import pipeline_ps

durations = st.integers(0, 50)
tiles = st.lists(st.tuples(durations, durations), min_size=1, max_size=20)
"""(time to load, time to compute) of each tile."""


def simulated_ps(tiles):
    """A loader that takes one of two free buffers per tile, a core that returns it."""
    env = simpy.Environment()
    free, full = simpy.Container(env, capacity=2, init=2), simpy.Store(env)

    def load():
        for load_ps, compute_ps in tiles:
            yield free.get(1)
            yield env.timeout(load_ps)
            yield full.put(compute_ps)

    def compute():
        for _ in tiles:
            compute_ps = yield full.get()
            yield env.timeout(compute_ps)
            yield free.put(1)

    env.process(load())
    env.run(env.process(compute()))
    return env.now


def computed_ps(tiles):
    arrivals_ps = list(accumulate(load_ps for load_ps, _ in tiles))
    return pipeline_ps(arrivals_ps, [compute_ps for _, compute_ps in tiles])


def test_a_tile_loads_while_the_one_before_computes():
    assert computed_ps([(10, 3), (10, 3), (10, 3)]) == 33
    assert computed_ps([(3, 10), (3, 10), (3, 10)]) == 33


def test_a_third_tile_waits_for_the_first_to_leave_its_buffer():
    assert computed_ps([(1, 100), (1, 1), (50, 1)]) == 152
    assert computed_ps([(1, 100), (1, 1), (1, 1), (50, 1)]) == 153


@given(tiles)
def test_two_buffers_simulated_give_the_same_end(tiles):
    assert computed_ps(tiles) == simulated_ps(tiles)


@given(tiles)
def test_no_pipeline_is_faster_than_its_loads_or_its_computing(tiles):
    loads_ps, computes_ps = (sum(column) for column in zip(*tiles, strict=True))
    end_ps = computed_ps(tiles)
    assert end_ps >= max(loads_ps + tiles[-1][1], tiles[0][0] + computes_ps)
    assert end_ps <= loads_ps + computes_ps


@given(tiles)
def test_loads_that_never_wait_for_the_core_are_hidden_but_for_the_last_tile(tiles):
    """Memory bound: each tile computes no longer than the next one loads."""
    bound = [(load, min(compute, later)) for (load, compute), (later, _) in pairwise(tiles)]
    bound.append(tiles[-1])
    assert computed_ps(bound) == sum(load for load, _ in bound) + bound[-1][1]


@given(tiles)
def test_computing_that_never_waits_for_loads_hides_all_but_the_first(tiles):
    """Compute bound: each tile loads no longer than the one before computes."""
    bound = [tiles[0]]
    bound += [(min(load, before), compute) for (_, before), (load, compute) in pairwise(tiles)]
    assert computed_ps(bound) == bound[0][0] + sum(compute for _, compute in bound)
