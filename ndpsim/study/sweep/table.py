"""The one data set of a sweep: a row per point, `config_hash` its key."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.study.sweep.definition import Direction
from ndpsim.study.sweep.points import plain_text
from ndpsim.study.sweep.worker import OK, Row

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CHUNK: Final = 10_000
"""Rows in memory at a time, and of a row group."""
HEAD: Final = ("config_hash", "point", "status", "error")


class Table:
    """Rows of a sweep, read twice: for their columns, then for their values."""

    def __init__(self, rows: Callable[[], Iterable[Row]], goals: Sequence[Direction]) -> None:
        """`rows` gives the rows in the order of points, each time anew."""
        self._rows, self._goals = rows, goals
        self._kinds: dict[str, str] = {}
        self._kept: set[int] = set()
        self._front: set[int] = set()
        self._scan()

    def write(self, path: Path) -> None:
        """As Parquet."""
        import pyarrow.parquet as pq

        schema = self._schema()
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as file:
            for batch in self._tables(schema):
                file.write_table(batch)

    def frame(self) -> "pd.DataFrame":
        """As a frame."""
        import pyarrow as pa

        schema = self._schema()
        table: pd.DataFrame = pa.concat_tables(
            [*self._tables(schema), schema.empty_table()]
        ).to_pandas()
        return table

    def records(self) -> list[dict[str, Any]]:
        """As plain data: what each point sets, and its summary as `ndpsim run --json` gives it."""
        return [
            {
                **{name: row[name] for name in HEAD},
                **({"pareto": row["point"] in self._front} if self._goals else {}),
                "values": row["values"],
                "columns": row["columns"],
                **(row["summary"] or {}),
            }
            for row in self._rows()
            if row["point"] in self._kept
        ]

    def _scan(self) -> None:
        """Find the columns, which rows repeat another's configuration, and the best points."""
        seen: set[str] = set()
        points: list[int] = []
        goals: list[list[float]] = []
        for row in self._rows():
            if row["config_hash"] in seen:
                continue
            seen.add(row["config_hash"])
            self._kept.add(row["point"])
            for name, value in self._cells(row).items():
                self._kinds[name] = _joined(self._kinds.get(name, ""), value)
            if row["status"] == OK and all(miss <= 0 for miss in row["misses"]):
                points.append(row["point"])
                goals.append(row["goals"])
        if self._goals:
            signs = np.array([1.0 if goal == "min" else -1.0 for goal in self._goals])
            best = pareto(np.array(goals, dtype=np.float64).reshape(-1, len(signs)) * signs)
            self._front = {point for point, is_best in zip(points, best, strict=True) if is_best}
            self._kinds["pareto"] = "bool"

    def _cells(self, row: Row) -> dict[str, Any]:
        """The columns of a row, in their order."""
        cells = {name: row[name] for name in HEAD}
        found = dict(_flat(row["summary"] or {}))
        for path, value in row["values"].items():
            cells[path] = found.pop(path, plain_text(value))
        cells |= row["columns"]
        if row["misses"]:
            cells["within"] = all(miss <= 0 for miss in row["misses"])
        if self._goals:
            cells["pareto"] = row["point"] in self._front
        return cells | {k: v for k, v in found.items() if k not in cells}

    def _schema(self) -> "pa.Schema":
        import pyarrow as pa

        types = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
        ordered = [name for name in self._kinds if name != "pareto"]
        head = len(HEAD)
        if "pareto" in self._kinds:
            ordered.insert(head, "pareto")
        return pa.schema([(name, types.get(self._kinds[name], pa.string())) for name in ordered])

    def _tables(self, schema: "pa.Schema") -> "Iterator[pa.Table]":
        import pyarrow as pa

        for chunk in _chunks(row for row in self._rows() if row["point"] in self._kept):
            cells = [self._cells(row) for row in chunk]
            columns = {
                name: [_cast(cell.get(name), self._kinds[name]) for cell in cells]
                for name in schema.names
            }
            yield pa.table(columns, schema=schema)


def pareto(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows no other row beats; less is better in every column.

    A row beats another if it is nowhere worse and somewhere better.
    """
    best = np.zeros(len(costs), dtype=np.bool_)
    front = np.empty((0, costs.shape[1]))
    for index in np.lexsort(costs.T[::-1]):
        cost = costs[index]
        beaten = (front <= cost).all(axis=1) & (front < cost).any(axis=1)
        if not beaten.any():
            best[index] = True
            front = np.vstack([front, cost])
    return best


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _kind(value: Any) -> str:
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind.__name__
    return "str" if isinstance(value, str) else "json"


def _joined(kind: str, value: Any) -> str:
    """The kind of a column that holds this value as well."""
    if value is None:
        return kind
    new = _kind(value)
    if kind in ("", new):
        return new
    return "float" if {kind, new} == {"int", "float"} else "json"


def _cast(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "float":
        return float(value)
    if kind == "json" and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return value


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
