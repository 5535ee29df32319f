"""Routing traces: which experts a real model chose, for every token and layer.

On disk a trace is a Parquet file with one row per (sequence, position, layer), sorted and with
every layer of every token present. In memory it is one integer array of shape (tokens, layers,
top_k). Nothing is ever pickled.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ndpsim.errors import TraceError
from ndpsim.workload._checks import MAX_TOP_K, check_info, check_trace, one_line

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY: Final = b"ndpsim.trace"
SCHEMA_VERSION: Final = 1
_ROWS_PER_GROUP: Final = 1 << 16
_WRITER: Final[dict[str, Any]] = {"compression": "zstd", "write_page_checksum": True}
_COLUMNS: Final = ("sequence", "position", "phase", "layer", "experts")

PREFILL: Final = 0
DECODE: Final = 1


@dataclass(frozen=True, slots=True)
class TraceInfo:
    """What a trace is of, and where it comes from.

    `layers` are decoder-layer indices (dense layers count), one per layer of the trace, ascending.
    `provenance` holds JSON values: licence, capture settings, training, source.
    """

    model: str
    n_experts: int
    top_k: int
    layers: tuple[int, ...]
    synthetic: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Routing of T tokens through L layers, k experts each.

    Parameters
    ----------
    sequence, position
        (T,) uint32; ascending by (sequence, position), each pair once.
    phase
        (T,) uint8: 0 prefill, 1 decode as captured; the phase in a run follows from position.
    experts
        (T, L, k) int16; -1 where a token has fewer than k experts; no expert twice in a row.
    weights
        (T, L, k) float16 router weights in the order of `experts`, or None.
    predicted
        At index d - 1, ids that a layer predicted for the d-th MoE layer after it: (T, L, width)
        int16, most likely first, -1 for none (as all are in the last d layers). On disk
        ``predicted_1``, ``predicted_2``, ...
    """

    info: TraceInfo
    sequence: npt.NDArray[np.uint32]
    position: npt.NDArray[np.uint32]
    phase: npt.NDArray[np.uint8]
    experts: npt.NDArray[np.int16]
    weights: npt.NDArray[np.float16] | None = None
    predicted: tuple[npt.NDArray[np.int16], ...] = ()

    def lists(self) -> dict[str, npt.NDArray[Any]]:
        """What a trace holds of each token and layer, by column name."""
        named: dict[str, npt.NDArray[Any]] = {"experts": self.experts}
        if self.weights is not None:
            named["weights"] = self.weights
        return named | {f"predicted_{d}": ids for d, ids in enumerate(self.predicted, start=1)}

    @property
    def n_tokens(self) -> int:
        """Tokens over all sequences."""
        return len(self.sequence)

    def sequences(self) -> list[int]:
        """Sequence ids, ascending."""
        return [int(s) for s in self.sequence[_starts(self.sequence)]]

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Sequence id -> its token rows [first, last)."""
        starts = _starts(self.sequence)
        edges = [*(int(s) for s in starts), self.n_tokens]
        return dict(zip(self.sequences(), pairwise(edges), strict=True))


def write_trace(path: Path | str, trace: Trace) -> None:
    """Write a trace; the same trace gives the same bytes. An existing file is replaced at the end.

    Raises
    ------
    TraceError
        The trace breaks its own rules, or the file cannot be written.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    check_trace(str(path), trace)
    _check_provenance(str(path), trace.info)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with pq.ParquetWriter(beside, _schema(trace), **_WRITER) as writer:
            for start, stop in _row_groups(trace):
                writer.write_table(_table(trace, start, stop))
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise TraceError(str(path), f"cannot be written: {one_line(error)}") from error


def read_trace(path: Path | str, sequences: Iterable[int] | None = None) -> Trace:
    """Read and check a trace, or only some of its sequences.

    Raises
    ------
    TraceError
        The file is missing, truncated, not a trace, or holds what a trace may not hold.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = str(path)
    if Path(path).is_dir():
        raise TraceError(where, "is a directory, not a trace file")
    wanted = None if sequences is None else sorted(set(sequences))
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            info = _read_info(where, schema.metadata or {})
            columns = _check_schema(where, schema, info.top_k)
            groups = _groups_with(file.metadata, wanted)
            if wanted and not groups:
                raise TraceError(where, f"sequence {wanted[0]} is not in this trace")
            table = file.read_row_groups(groups, columns=columns)
    except FileNotFoundError:
        raise TraceError(where, "no such file") from None
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise TraceError(where, f"is not a readable Parquet file: {one_line(error)}") from error
    trace = _from_table(where, info, table)
    check_trace(where, trace)
    return trace if wanted is None else _subset(where, trace, wanted)


def trace_digest(trace: Trace) -> str:
    """A hex digest of the content: the same for any path, compression or writer version."""
    digest = hashlib.blake2b(_info_json(trace.info), digest_size=16)
    plain = {name: getattr(trace, name) for name in ("sequence", "position", "phase")}
    for name, array in (plain | trace.lists()).items():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape}".encode())
        digest.update(little.data)
    return digest.hexdigest()


def _starts(sequence: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp]:
    changes = np.flatnonzero(sequence[1:] != sequence[:-1]) + 1
    return np.concatenate(([0], changes)).astype(np.intp) if len(sequence) else changes


def _row_groups(trace: Trace) -> Iterator[tuple[int, int]]:
    """Token ranges of whole sequences, closed once they hold enough rows."""
    n_layers = len(trace.info.layers)
    first = 0
    for _, stop in trace.bounds().values():
        if (stop - first) * n_layers >= _ROWS_PER_GROUP:
            yield first, stop
            first = stop
    if first < trace.n_tokens:
        yield first, trace.n_tokens


def _schema(trace: Trace) -> "pa.Schema":
    import pyarrow as pa

    widths = {name: array.shape[2] for name, array in trace.lists().items()}
    fields = _fields(widths)
    columns = [pa.field(name, kind, nullable=False) for name, kind in fields.items()]
    return pa.schema(columns, metadata={METADATA_KEY: _info_json(trace.info)})


def _fields(widths: Mapping[str, int]) -> dict[str, Any]:
    """The type of every column; `widths` are those of its lists."""
    import pyarrow as pa

    def each(name: str) -> Any:
        kind = pa.float16() if name == "weights" else pa.int16()
        return pa.list_(pa.field("item", kind, nullable=False), widths[name])

    return {
        "sequence": pa.uint32(),
        "position": pa.uint32(),
        "phase": pa.uint8(),
        "layer": pa.uint16(),
        **{name: each(name) for name in widths},
    }


def _table(trace: Trace, start: int, stop: int) -> "pa.Table":
    import pyarrow as pa

    info, rows = trace.info, slice(start, stop)
    n_layers = len(info.layers)
    columns: dict[str, Any] = {
        name: np.repeat(getattr(trace, name)[rows], n_layers)
        for name in ("sequence", "position", "phase")
    }
    columns["layer"] = np.tile(np.array(info.layers, np.uint16), stop - start)
    schema = _schema(trace)
    for name, array in trace.lists().items():
        flat = pa.array(np.ascontiguousarray(array[rows]).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, type=schema.field(name).type)
    return pa.table([pa.array(columns[name]) for name in schema.names], schema=schema)


def _info_json(info: TraceInfo) -> bytes:
    content = {
        "schema": SCHEMA_VERSION,
        "model": info.model,
        "n_experts": info.n_experts,
        "top_k": info.top_k,
        "layers": list(info.layers),
        "synthetic": info.synthetic,
        "provenance": dict(info.provenance),
    }
    return json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":")).encode()


def _check_provenance(where: str, info: TraceInfo) -> None:
    try:
        _info_json(info)
    except (TypeError, ValueError, RecursionError) as error:
        raise TraceError(where, f"provenance must be JSON: {one_line(error)}") from error


def _read_info(where: str, metadata: Mapping[bytes, bytes]) -> TraceInfo:
    key = METADATA_KEY.decode()
    if METADATA_KEY not in metadata:
        raise TraceError(where, f"is Parquet but not a routing trace: metadata '{key}' is missing")
    try:
        content = json.loads(metadata[METADATA_KEY], parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise TraceError(where, f"metadata '{key}' is not JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise TraceError(where, f"metadata '{key}' must be a mapping")
    if content.pop("schema", None) != SCHEMA_VERSION:
        raise TraceError(where, f"metadata '{key}' must have schema {SCHEMA_VERSION}")
    if isinstance(content.get("layers"), list):
        content["layers"] = tuple(content["layers"])
    try:
        info = TraceInfo(**content)
    except TypeError:
        known = ", ".join(TraceInfo.__slots__)
        raise TraceError(where, f"metadata '{key}' must have exactly: {known}") from None
    check_info(where, info)
    return info


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def _check_schema(where: str, schema: "pa.Schema", top_k: int) -> list[str]:
    """The columns to read, once they are known to be there with the right types."""
    widths = {"experts": top_k}
    if "weights" in schema.names:
        widths["weights"] = top_k
    widths |= _predicted_widths(where, schema)
    fields = _fields(widths)
    columns = list(fields)
    for name in columns:
        if schema.names.count(name) != 1:
            found = "is missing" if name not in schema.names else "is there more than once"
            raise TraceError(where, f"column '{name}' {found}")
        got, expected = schema.field(name).type, fields[name]
        if not got.equals(expected) and not _same_list(got, expected):
            raise TraceError(where, f"column '{name}' must be {expected}, not {got}")
    return columns


def _predicted_widths(where: str, schema: "pa.Schema") -> dict[str, int]:
    """Lengths of the lists ``predicted_1``, ``predicted_2``, ... that a file has."""
    import pyarrow as pa

    found = [name for name in schema.names if re.fullmatch(r"predicted_\d+", name)]
    named = [f"predicted_{d}" for d in range(1, len(found) + 1)]
    widths = {}
    for name in named:
        if name not in found:
            raise TraceError(where, f"column '{name}' is missing beside {', '.join(sorted(found))}")
        kind = schema.field(name).type
        if not pa.types.is_fixed_size_list(kind) or not 0 < kind.list_size <= MAX_TOP_K:
            raise TraceError(
                where, f"column '{name}' must be a list of 1 to {MAX_TOP_K} ids, not {kind}"
            )
        widths[name] = kind.list_size
    return widths


def _same_list(got: Any, expected: Any) -> bool:
    """Whether two fixed-size lists differ only in the name or nullability of their items."""
    import pyarrow as pa

    return bool(
        pa.types.is_fixed_size_list(got)
        and pa.types.is_fixed_size_list(expected)
        and got.list_size == expected.list_size
        and got.value_type.equals(expected.value_type)
    )


def _groups_with(metadata: Any, wanted: list[int] | None) -> list[int]:
    """Row groups that may hold the wanted sequences, by their statistics."""
    groups = range(metadata.num_row_groups)
    if wanted is None:
        return list(groups)
    return [g for g in groups if _may_hold(metadata.row_group(g), wanted)]


def _may_hold(group: Any, wanted: list[int]) -> bool:
    columns = (group.column(c) for c in range(group.num_columns))
    statistics = next((c.statistics for c in columns if c.path_in_schema == "sequence"), None)
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= sequence <= statistics.max for sequence in wanted)


def _from_table(where: str, info: TraceInfo, table: "pa.Table") -> Trace:
    n_layers, n_rows = len(info.layers), table.num_rows
    if n_rows == 0 or n_rows % n_layers:
        raise TraceError(
            where, f"has {n_rows} rows, not a positive multiple of its {n_layers} layers"
        )
    for name in table.column_names:
        if table.column(name).null_count:
            raise TraceError(where, f"column '{name}' has empty values")
    plain = {name: table.column(name).to_numpy() for name in _COLUMNS[:-1]}
    _check_rows(where, info, plain)
    per_token = {name: np.ascontiguousarray(a[::n_layers]) for name, a in plain.items()}
    lists = {
        name: _flat(where, name, table).reshape(n_rows // n_layers, n_layers, -1)
        for name in table.column_names
        if name not in plain
    }
    del per_token["layer"]
    predicted = tuple(array for name, array in lists.items() if name.startswith("predicted_"))
    return Trace(
        info,
        **per_token,
        experts=lists["experts"],
        weights=lists.get("weights"),
        predicted=predicted,
    )


def _flat(where: str, name: str, table: "pa.Table") -> npt.NDArray[Any]:
    chunks = [chunk.flatten() for chunk in table.column(name).chunks]
    if any(chunk.null_count for chunk in chunks):
        raise TraceError(where, f"column '{name}' has empty values")
    return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks])


def _check_rows(where: str, info: TraceInfo, rows: dict[str, npt.NDArray[Any]]) -> None:
    """Every token has each layer once, in order, and the same sequence, position and phase."""
    n_layers = len(info.layers)
    expected = np.array(info.layers, np.uint16)
    grid = {name: array.reshape(-1, n_layers) for name, array in rows.items()}
    bad = grid["layer"] != expected
    for name in ("sequence", "position", "phase"):
        bad |= grid[name] != grid[name][:, :1]
    if bad.any():
        row = int(np.argmax(bad))
        got = ", ".join(f"{name} {int(rows[name][row])}" for name in ("sequence", "position"))
        raise TraceError(
            where,
            f"row {row}: {got}, layer {int(rows['layer'][row])} breaks the order "
            "(sequence, position, layer) with every layer of every token present",
        )


def _subset(where: str, trace: Trace, wanted: list[int]) -> Trace:
    present = set(trace.sequences())
    for sequence in wanted:
        if sequence not in present:
            raise TraceError(where, f"sequence {sequence} is not in this trace")
    keep = np.isin(trace.sequence, np.array(wanted, np.int64))
    weights = None if trace.weights is None else trace.weights[keep]
    return Trace(
        trace.info,
        trace.sequence[keep],
        trace.position[keep],
        trace.phase[keep],
        trace.experts[keep],
        weights,
        tuple(ids[keep] for ids in trace.predicted),
    )
