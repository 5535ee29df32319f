"""Samples cover what they are drawn from; best points are those that none beats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ndpsim.errors import ConfigError
from ndpsim.study.sweep.definition import Interval
from ndpsim.study.sweep.points import dump
from ndpsim.study.sweep.space import axis, latin_hypercube
from ndpsim.study.sweep.table import pareto
from ndpsim.units import parse_quantity


@given(st.integers(1, 40), st.integers(0, 5))
def test_each_nth_of_every_range_holds_one_point(n, seed):
    axes = {
        "a": axis("a", Interval(low=0.0, high=1.0)),
        "b": axis("b", Interval(low="1 GHz", high="100 GHz", log=True)),
    }
    points = latin_hypercube(axes, n, seed)
    assert points == latin_hypercube(axes, n, seed)
    cells = sorted(min(int(point["a"] * n + 1e-3 * n), n - 1) for point in points)
    assert len(points) == n
    assert len(set(cells)) >= n - n // 2
    for point in points:
        assert 10**9 <= parse_quantity(point["b"], "frequency") <= 10**11


def test_whole_numbers_and_steps_are_all_reached_and_never_left():
    whole = axis("a", Interval(low=2, high=6))
    assert {whole.value(share) for share in np.linspace(0, 0.999, 50)} == {2, 3, 4, 5, 6}
    step = axis("b", Interval(low="16 GB/s", high="64 GB/s", step="16 GB/s"))
    assert [step.value(s) for s in (0, 0.3, 0.6, 0.9)] == [
        "16 GB/s",
        "32 GB/s",
        "48 GB/s",
        "64 GB/s",
    ]
    assert axis("c", ("x", "y")).value(0.5) == "y"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"low": 3, "high": 2}, "not below"),
        ({"low": "1 GHz", "high": "2 MHz"}, "one unit"),
        ({"low": "fast", "high": "1 GHz"}, "a quantity"),
        ({"low": 0, "high": 2, "log": True}, "above zero"),
        ({"low": 0, "high": 2, "step": 0}, "more than zero"),
    ],
)
def test_intervals_that_hold_nothing_are_refused(fields, why):
    with pytest.raises(ConfigError, match=why):
        axis("here", Interval(**fields))


@given(
    arrays(np.float64, st.tuples(st.integers(0, 25), st.integers(1, 3)), elements=st.integers(0, 4))
)
def test_the_front_is_what_none_beats(costs):
    def beaten(row):
        return any((other <= row).all() and (other < row).any() for other in costs)

    assert list(pareto(costs)) == [not beaten(row) for row in costs]


SCALARS = st.one_of(
    st.text(max_size=12), st.integers(-(10**12), 10**12), st.booleans(), st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.recursive(
            SCALARS,
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_what_is_written_as_yaml_is_read_back(document):
    from ndpsim.spec.yaml import parse_yaml

    assert (parse_yaml(dump(document, "a\nb"), "text").plain() or {}) == document
