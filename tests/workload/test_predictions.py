"""Predictions in a routing trace: ids a layer expects of the layers after it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ndpsim.errors import TraceError
from ndpsim.workload import ModelSpec, read_trace, select, trace_digest, write_trace
from ndpsim.workload.trace import Trace, TraceInfo

N_LAYERS, N_EXPERTS = 3, 8


def predicting(n_sequences: int = 2, n_tokens: int = 5, widths: tuple[int, ...] = (2, 3)) -> Trace:
    rng = np.random.default_rng(0)
    n = n_sequences * n_tokens

    def ids(width: int) -> np.ndarray:
        scores = rng.random((n, N_LAYERS, N_EXPERTS))
        return np.argsort(scores, axis=-1)[..., :width].astype(np.int16)

    return Trace(
        TraceInfo("tiny", N_EXPERTS, 2, tuple(range(N_LAYERS))),
        np.repeat(np.arange(n_sequences, dtype=np.uint32), n_tokens),
        np.tile(np.arange(n_tokens, dtype=np.uint32), n_sequences),
        np.zeros(n, dtype=np.uint8),
        ids(2),
        rng.random((n, N_LAYERS, 2)).astype(np.float16),
        tuple(ids(width) for width in widths),
    )


def test_predictions_are_read_as_written_with_widths_of_their_own(tmp_path: Path) -> None:
    trace = predicting()
    write_trace(tmp_path / "t.parquet", trace)
    again = read_trace(tmp_path / "t.parquet")
    assert [ids.shape for ids in again.predicted] == [(10, 3, 2), (10, 3, 3)]
    for ours, theirs in zip(trace.predicted, again.predicted, strict=True):
        assert np.array_equal(ours, theirs)
    assert trace_digest(again) == trace_digest(trace)


def test_a_subset_keeps_its_predictions(tmp_path: Path) -> None:
    trace = predicting()
    write_trace(tmp_path / "t.parquet", trace)
    subset = read_trace(tmp_path / "t.parquet", [1])
    assert np.array_equal(subset.predicted[1], trace.predicted[1][5:])


def test_predictions_are_part_of_the_content() -> None:
    trace = predicting()
    assert trace_digest(trace) != trace_digest(replace(trace, predicted=()))
    assert trace_digest(trace) != trace_digest(replace(trace, predicted=trace.predicted[::-1]))


def test_predictions_of_no_expert_are_refused(tmp_path: Path) -> None:
    trace = predicting(widths=(1,))
    trace.predicted[0][4, 1, 0] = N_EXPERTS
    with pytest.raises(TraceError, match=r"row 12 .*predicted_1 holds an id outside 0 to 7"):
        write_trace(tmp_path / "t.parquet", trace)


def test_predictions_of_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    trace = replace(predicting(), predicted=(np.zeros((10, 2, 2), np.int16),))
    with pytest.raises(TraceError, match="'predicted_1' must be int16"):
        write_trace(tmp_path / "t.parquet", trace)


def rewritten(path: Path, change: str) -> Path:
    table = pq.read_table(path)
    if change == "gap":
        table = table.rename_columns(
            [n.replace("predicted_2", "predicted_3") for n in table.column_names]
        )
        table = table.replace_schema_metadata(pq.read_schema(path).metadata)
    else:
        index = table.column_names.index("predicted_1")
        table = table.set_column(index, "predicted_1", pa.array([1] * table.num_rows))
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("gap", "column 'predicted_2' is missing beside predicted_1, predicted_3"),
        ("kind", "column 'predicted_1' must be a list of 1 to 256 ids, not int64"),
    ],
)
def test_spoiled_prediction_columns_are_one_clear_line(
    change: str, says: str, tmp_path: Path
) -> None:
    write_trace(tmp_path / "t.parquet", predicting())
    with pytest.raises(TraceError, match=says):
        read_trace(rewritten(tmp_path / "t.parquet", change))


MODEL = ModelSpec.model_validate(
    {
        "name": "tiny",
        "n_layers": N_LAYERS,
        "d_model": 64,
        "vocab": 100,
        "attention": {"kind": "gqa", "n_heads": 2, "n_kv_heads": 1, "head_dim": 32},
        "n_experts": N_EXPERTS,
        "top_k": 2,
        "d_expert": 32,
    }
)


def test_a_selection_aligns_weights_and_predictions_with_experts() -> None:
    trace = predicting()
    found = select(trace, MODEL, batch=1, prompt_tokens=2, output_tokens=3, sequences=(1,))
    assert np.array_equal(found.experts[0], trace.experts[5:9])
    assert found.weights is not None
    assert np.array_equal(found.weights[0], trace.weights[5:9])  # type: ignore[index]
    assert np.array_equal(found.predicted[1][0], trace.predicted[1][5:9])


def test_what_is_made_up_has_no_weights_and_no_predictions() -> None:
    found = select(predicting(), MODEL, batch=1, prompt_tokens=6, output_tokens=3, extend="synth")
    assert found.weights is not None
    assert (found.weights[0, 5:] == 0).all()
    assert (found.predicted[0][0, 5:] == -1).all()
    assert (found.predicted[0][0, :5] >= 0).all()


def test_a_loop_repeats_weights_and_predictions_too() -> None:
    trace = predicting()
    found = select(trace, MODEL, batch=1, prompt_tokens=6, output_tokens=3, extend="loop")
    assert np.array_equal(found.predicted[0][0, 5:8], trace.predicted[0][:3])


def test_ids_alone_have_neither() -> None:
    trace = replace(predicting(), weights=None, predicted=())
    found = select(trace, MODEL, batch=2, prompt_tokens=2, output_tokens=2)
    assert found.weights is None
    assert found.predicted == ()
