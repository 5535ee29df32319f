"""Traces survive the disk unchanged, and a file that is not a trace says why in one line."""

import json
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ndpsim.errors import TraceError
from ndpsim.workload.trace import (
    METADATA_KEY,
    Trace,
    TraceInfo,
    read_trace,
    trace_digest,
    write_trace,
)

Values: TypeAlias = npt.NDArray[Any]


def make_trace(
    lengths: list[int],
    n_layers: int = 3,
    top_k: int = 2,
    n_experts: int = 8,
    *,
    seed: int = 0,
    weights: bool = True,
    first_position: int = 0,
) -> Trace:
    rng = np.random.default_rng(seed)
    n_tokens = sum(lengths)
    order = rng.random((n_tokens, n_layers, n_experts)).argsort(axis=-1)
    experts = order[:, :, :top_k].astype(np.int16)
    gate = rng.random(experts.shape).astype(np.float16) if weights else None
    sequence = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
    position = np.concatenate([np.arange(n, dtype=np.uint32) + first_position for n in lengths])
    info = TraceInfo(
        "toy", n_experts, top_k, tuple(range(1, n_layers + 1)), False, {"licence": "CC0-1.0"}
    )
    phase = (position > 2).astype(np.uint8)
    return Trace(info, sequence, position.astype(np.uint32), phase, experts, gate)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    n_experts = draw(st.integers(1, 40))
    return make_trace(
        draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)),
        n_layers=draw(st.integers(1, 5)),
        top_k=draw(st.integers(1, min(4, n_experts))),
        n_experts=n_experts,
        seed=draw(st.integers(0, 99)),
        weights=draw(st.booleans()),
        first_position=draw(st.integers(0, 5)),
    )


def same(a: Trace, b: Trace) -> bool:
    arrays = ("sequence", "position", "phase", "experts", "weights")
    pairs = [(getattr(a, name), getattr(b, name)) for name in arrays]
    return a.info == b.info and all(
        (x is None and y is None) or (x.dtype == y.dtype and np.array_equal(x, y)) for x, y in pairs
    )


@settings(deadline=None, max_examples=50)
@given(trace=traces())
def test_reading_returns_what_was_written(
    trace: Trace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    write_trace(path, trace)
    back = read_trace(path)
    assert same(back, trace)
    assert trace_digest(back) == trace_digest(trace)
    first = path.read_bytes()
    write_trace(path, trace)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["t.parquet"]


def test_a_subset_holds_the_wanted_sequences_only(tmp_path: Path) -> None:
    trace = make_trace([2000, 2500, 1, 2000], n_layers=30)
    path = tmp_path / "t.parquet"
    write_trace(path, trace)
    assert pq.ParquetFile(path).metadata.num_row_groups > 1
    part = read_trace(path, [3, 1])
    assert part.sequences() == [1, 3]
    assert np.array_equal(part.experts[:2500], trace.experts[2000:4500])
    with pytest.raises(TraceError, match="sequence 7 is not in this trace"):
        read_trace(path, [7])


def test_the_digest_sees_content_not_file(tmp_path: Path) -> None:
    trace = make_trace([3, 4])
    write_trace(tmp_path / "a.parquet", trace)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet", compression="gzip")
    digest = trace_digest(read_trace(tmp_path / "a.parquet"))
    assert trace_digest(read_trace(tmp_path / "b.parquet")) == digest
    assert trace_digest(make_trace([3, 4], seed=1)) != digest


def spoil(path: Path, what: str) -> None:
    """Rewrite the trace at `path` with one thing wrong."""
    table = pq.read_table(path)
    columns = {name: table.column(name) for name in table.column_names}
    info = json.loads(table.schema.metadata[METADATA_KEY])
    n = table.num_rows

    def ints(name: str) -> Values:
        values: Values = columns[name].to_numpy()
        return values.copy()

    def ids() -> Values:
        values: Values = columns["experts"].combine_chunks().flatten().to_numpy()
        return values.copy()

    def as_list(values: Values, size: int) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values), size)

    raw: bytes | None = None
    match what:
        case "no metadata":
            raw = b""
        case "not json":
            raw = b"{"
        case "deep json":
            raw = b"[" * 200_000
        case "nan json":
            raw = b'{"schema": 1, "model": NaN}'
        case "a list":
            raw = b"[]"
        case "schema":
            info["schema"] = 99
        case "extra key":
            info["__class__"] = "os.system"
        case "layers":
            info["layers"] = [3, 2, 1]
        case "layer words":
            info["layers"] = ["1", {}, None]
        case "experts bool":
            info["n_experts"] = True
        case "experts text":
            info["n_experts"] = "8"
        case "top_k":
            info["top_k"] = 10**30
        case "model":
            info["model"] = "two\nlines"
        case "provenance":
            info["provenance"] = []
        case "no experts":
            del columns["experts"]
        case "float position":
            columns["position"] = pa.chunked_array([ints("position").astype(np.float64)])
        case "list size":
            columns["experts"] = as_list(ids()[: n * 1].astype(np.int16), 1)
        case "too high":
            spoiled = ids()
            spoiled[9] = 8
            columns["experts"] = as_list(spoiled, 2)
        case "too low":
            spoiled = ids()
            spoiled[9] = -2
            columns["experts"] = as_list(spoiled, 2)
        case "twice":
            spoiled = ids()
            spoiled[9] = spoiled[8]
            columns["experts"] = as_list(spoiled, 2)
        case "empty ids":
            values = [int(v) for v in ids()]
            holes = pa.array([None, *values[1:]], pa.int16())
            columns["experts"] = pa.FixedSizeListArray.from_arrays(holes, 2)
        case "phase":
            columns["phase"] = pa.array(np.full(n, 7, np.uint8))
        case "layer order":
            columns["layer"] = pa.array(ints("layer")[::-1].copy())
        case "missing row":
            columns = {name: column.slice(1) for name, column in columns.items()}
        case "missing layer":
            keep = np.ones(n, bool)
            keep[[4, 8, 9]] = False
            columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
        case "no rows":
            columns = {name: column.slice(0, 0) for name, column in columns.items()}
        case "unsorted":
            columns["position"] = pa.array(ints("position")[::-1].copy())
    raw = json.dumps(info).encode() if raw is None else raw
    metadata = {METADATA_KEY: raw} if raw else {}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("no metadata", "not a routing trace"),
        ("not json", "is not JSON"),
        ("deep json", "is not JSON"),
        ("nan json", "NaN is not allowed"),
        ("a list", "must be a mapping"),
        ("schema", "must have schema 1"),
        ("extra key", "must have exactly: model"),
        ("layers", "ascending decoder-layer indices"),
        ("layer words", "ascending decoder-layer indices"),
        ("experts bool", "n_experts must be 1 to"),
        ("experts text", "n_experts must be 1 to"),
        ("top_k", "top_k must be 1 to n_experts"),
        ("model", "printable name"),
        ("provenance", "provenance must be a mapping"),
        ("no experts", "column 'experts' is missing"),
        ("float position", "column 'position' must be uint32, not double"),
        ("list size", r"column 'experts' must be .*\[2\], not .*\[1\]"),
        ("too high", r"row 4 \(sequence 0, position 1, layer 2\) expert id 8 is outside 0 to 7"),
        ("too low", "expert id -2 is outside 0 to 7"),
        ("twice", r"row 4 .* lists an expert twice"),
        ("empty ids", "column 'experts' has empty values"),
        ("phase", "phase 7 is neither 0 nor 1"),
        ("layer order", r"row 0: .* breaks the order"),
        ("missing row", "20 rows, not a positive multiple of its 3 layers"),
        ("missing layer", r"row 4: sequence 0, position 1, layer 3 breaks the order"),
        ("no rows", "0 rows, not a positive multiple"),
        ("unsorted", "sort by sequence, position"),
    ],
)
def test_a_spoiled_trace_is_one_clear_line(what: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_trace(path, make_trace([3, 4]))
    spoil(path, what)
    with pytest.raises(TraceError, match=says) as caught:
        read_trace(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_trace_is_one_clear_line(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    write_trace(good, make_trace([30, 40]))
    content = good.read_bytes()
    files = {"empty": b"", "text": b"sequence,position\n", "binary": bytes(range(256)) * 9}
    files |= {f"cut{n}": content[:n] for n in (3, 8, len(content) // 2, len(content) - 1)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for path in [*(tmp_path / name for name in files), tmp_path / "none", tmp_path]:
        with pytest.raises(TraceError) as caught:
            read_trace(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255))
@example(at=726, value=128)
def test_a_flipped_byte_never_escapes_as_another_error(
    at: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("flip") / "t.parquet"
    trace = make_trace([3, 4])
    write_trace(path, trace)
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(content)
    try:
        read_trace(path)
    except TraceError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_writing_refuses_what_reading_would_refuse(tmp_path: Path) -> None:
    trace = make_trace([3, 4])
    swapped = Trace(trace.info, trace.sequence[::-1], trace.position, trace.phase, trace.experts)
    with pytest.raises(TraceError, match="sort by sequence"):
        write_trace(tmp_path / "t.parquet", swapped)
    assert not list(tmp_path.iterdir())
    wide = Trace(trace.info, trace.sequence, trace.position, trace.phase, trace.experts[:, :2])
    with pytest.raises(TraceError, match=r"'experts' must be int16 \(7, 3, 2\)"):
        write_trace(tmp_path / "t.parquet", wide)


def test_an_unwritable_place_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "t.parquet", tmp_path / "file" / "t.parquet"):
        with pytest.raises(TraceError, match="cannot be written"):
            write_trace(path, make_trace([3]))


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"])
def test_provenance_that_is_not_json_is_refused(value: object, tmp_path: Path) -> None:
    trace = make_trace([3])
    info = TraceInfo("toy", 8, 2, (1, 2, 3), False, {"odd": value})
    odd = Trace(info, trace.sequence, trace.position, trace.phase, trace.experts)
    with pytest.raises(TraceError, match="provenance must be JSON"):
        write_trace(tmp_path / "t.parquet", odd)
