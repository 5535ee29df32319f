"""A run gets exactly the positions it needs, or a line that says what is missing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import TraceError
from ndpsim.workload.selection import Routing, select
from ndpsim.workload.spec import ModelSpec
from ndpsim.workload.trace import Trace, TraceInfo

from .test_models import small
from .test_trace import make_trace

MODEL = small(n_layers=4, dense_layers=[0], d_dense=9, n_experts=8)


def choose(trace: Trace, model: ModelSpec = MODEL, **changes: Any) -> Routing:
    arguments: dict[str, Any] = {"batch": 1, "prompt_tokens": 3, "output_tokens": 2}
    return select(trace, model, **(arguments | changes))


def test_a_run_needs_one_position_less_than_prompt_and_output() -> None:
    trace = make_trace([3, 4, 9])
    got = choose(trace)
    assert (got.sequences, got.extended, got.n_invented) == ((1,), None, 0)
    assert np.array_equal(got.experts, trace.experts[None, 3:7])
    assert choose(trace, output_tokens=1).sequences == (0,)


def test_a_batch_is_the_first_sequences_that_are_long_enough() -> None:
    trace = make_trace([4, 3, 4, 9])
    assert choose(trace, batch=2).sequences == (0, 2)
    assert choose(trace, batch=2, sequences=(3, 0)).sequences == (3, 0)
    assert np.array_equal(choose(trace, sequences=(3,)).experts[0], trace.experts[11:15])


def with_info(trace: Trace, **changes: object) -> Trace:
    fields = {name: getattr(trace.info, name) for name in TraceInfo.__slots__} | changes
    arrays = (trace.sequence, trace.position, trace.phase, trace.experts)
    return Trace(TraceInfo(**fields), *arrays)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": 3}, "3 prompt [+] 2 output tokens need positions 0 to 3 of 3 sequences; "
         "2 of the trace's 3 sequences hold them, the longest holds 9"),
        ({"output_tokens": 8}, "0 of the trace's 3 sequences hold them, the longest holds 9"),
        ({"sequences": (0,)}, "sequence 0 holds 0 to 2"),
        ({"sequences": (7,)}, r"sequences: 7 is not in the trace \(3 sequences, 0 to 2\)"),
        ({"sequences": (1, 2)}, "expected 1 different ones for batch 1, got 2"),
        ({"sequences": (1, 1), "batch": 2}, r"got 2 \(1 different\)"),
        ({"batch": 4, "extend": "loop"}, "of 4 sequences"),
    ],
)  # fmt: skip
def test_too_few_positions_or_sequences_is_one_clear_line(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        choose(make_trace([3, 4, 9]), where="t.parquet", **changes)
    assert str(caught.value).startswith("t.parquet: ")
    assert "\n" not in str(caught.value)


def test_a_trace_without_prompts_says_so() -> None:
    with pytest.raises(TraceError, match="none of the trace's 2 sequences starts at position 0"):
        choose(make_trace([9, 9], first_position=2))


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        ({"n_experts": 9}, ("8 experts", "9 experts")),
        ({"top_k": 1}, ("top-2", "top-1")),
        ({"dense_layers": []}, (r"3 MoE layers \(1 to 3\)", r"4 MoE layers \(0 to 3\)")),
        ({"dense_layers": [2]}, (r"\(1 to 3\)", r"\(0 to 3, with gaps\)")),
    ],
)
def test_another_geometry_is_refused_naming_both_sides(
    changes: dict[str, object], both: tuple[str, str]
) -> None:
    fields: dict[str, object] = {"n_layers": 4, "dense_layers": [0], "d_dense": 9, "n_experts": 8}
    model = small(**(fields | changes))
    with pytest.raises(TraceError, match=f"is of toy with .*{both[0]}.*; model small .*{both[1]}"):
        choose(make_trace([9]), model)


def test_looping_repeats_the_sequence_in_place() -> None:
    trace = make_trace([3, 2])
    got = choose(trace, batch=2, output_tokens=5, extend="loop")
    assert (got.extended, got.n_invented) == ("loop", 4 + 5)
    assert np.array_equal(got.experts[0], trace.experts[[0, 1, 2, 0, 1, 2, 0]])
    assert np.array_equal(got.experts[1], trace.experts[[3, 4, 3, 4, 3, 4, 3]])
    late = choose(make_trace([4], first_position=3), extend="loop", output_tokens=4)
    assert np.array_equal(late.experts[0], make_trace([4]).experts[[1, 2, 3, 0, 1, 2]])


def test_a_sequence_that_is_long_enough_goes_before_one_that_is_extended() -> None:
    trace = make_trace([3, 4])
    assert choose(trace, extend="loop").sequences == (1,)
    assert choose(trace, extend="loop").extended is None
    assert choose(trace, extend="loop", batch=2).sequences == (1, 0)


@given(
    n=st.integers(1, 9), first=st.integers(0, 5), prompt=st.integers(1, 6), output=st.integers(1, 6)
)
def test_what_is_real_stands_at_its_position_and_the_rest_is_counted(
    n: int, first: int, prompt: int, output: int
) -> None:
    trace = make_trace([n], first_position=first)
    needed = prompt + output - 1
    for extend in ("loop", "synth"):
        got = choose(trace, prompt_tokens=prompt, output_tokens=output, extend=extend)
        assert got.experts.shape == (1, needed, 3, 2)
        assert got.experts.min() >= 0
        real = range(first, min(first + n, needed))
        for position in real:
            assert np.array_equal(got.experts[0, position], trace.experts[position - first])
        assert got.n_invented == needed - len(real)
        assert got.extended == (extend if len(real) < needed else None)


def test_a_gap_ends_what_a_sequence_holds() -> None:
    trace = make_trace([9])
    position = trace.position.copy()
    position[4:] += 1
    gapped = Trace(trace.info, trace.sequence, position, trace.phase, trace.experts)
    assert choose(gapped).sequences == (0,)
    with pytest.raises(TraceError, match="the longest holds 4"):
        choose(gapped, output_tokens=3)
