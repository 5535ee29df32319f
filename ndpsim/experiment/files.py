"""Results folders: written beside their place and renamed at the end, read back as they were.

Everything in a results folder but `meta.json` is a function of the run's configuration, trace and
seed: the same run writes the same bytes.
"""

import json
import os
import platform
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from ndpsim.errors import InputError
from ndpsim.experiment.result import Columns, RunResult

TABLES: Final = ("layers", "tokens", "resources")
FILES: Final = frozenset(
    {"run.json", "summary.json", "meta.json", *(f"{name}.parquet" for name in TABLES)}
)
"""What the folder of a run holds."""
COMPARISON: Final = "compare.json"
"""Beside the folders of the runs that are compared."""

_PACKAGES: Final = ("ndpsim", "numba", "numpy", "pyarrow", "pydantic", "simpy")
_METADATA: Final = b"ndpsim.config_hash"


def save_run(result: RunResult, folder: Path | str) -> Path:
    """Write a run's results folder; an earlier one is replaced.

    Raises
    ------
    InputError
        The folder holds something else, or cannot be written.
    """
    with staged(folder) as stage:
        write_run(result, stage)
    return Path(folder)


def write_run(result: RunResult, folder: Path) -> None:
    """Write the files of a run into an empty folder."""
    summary = result.summary
    head = {name: summary[name] for name in ("schema", "config_hash", "seed")}
    detail = {
        "values": result.values,
        "provenance": result.provenance,
        "assumed": list(result.assumed),
    }
    write_json(folder / "run.json", head | detail)
    write_json(folder / "summary.json", summary)
    for name in TABLES:
        _write_table(folder / f"{name}.parquet", result.tables[name], summary["config_hash"])
    write_json(folder / "meta.json", _meta(result))


def load_run(folder: Path | str) -> RunResult:
    """Read a results folder that `save_run` wrote.

    Raises
    ------
    InputError
        It is not one, or a file in it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(str(folder), "no such results folder")
    run, summary, meta = (read_json(folder / f"{name}.json") for name in ("run", "summary", "meta"))
    try:
        return RunResult(
            summary=summary,
            values=run["values"],
            provenance=run["provenance"],
            assumed=tuple(run["assumed"]),
            tables={name: _read_table(folder / f"{name}.parquet") for name in TABLES},
            wall_s=meta["wall_s"],
            memo=meta["memo"],
        )
    except KeyError as error:
        raise InputError(str(folder), f"not a results folder of this version: no {error}") from None


def check_target(folder: Path | str) -> None:
    """Raise an `InputError` unless results can be written to this folder; nothing is left behind.

    The folder may be absent, empty, or an earlier results folder; its parent must exist and be
    writable.
    """
    _check_replaceable(_real(folder), str(folder))
    with _beside(folder):
        pass


@contextmanager
def staged(folder: Path | str) -> Iterator[Path]:
    """An empty folder to fill; at the end it takes the place of `folder`, or vanishes on error."""
    with _beside(folder) as stage:
        try:
            yield stage
        except OSError as error:
            raise _unwritable(str(folder), error) from error
        target = _real(folder)
        _check_replaceable(target, str(folder))
        try:
            _replace(target, stage)
        except OSError as error:
            raise _unwritable(str(folder), error) from error


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document, with its fields in their given order."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read one JSON document."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(str(path), "no such file; not a results folder") from None
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read: {_reason(error)}") from error


def _meta(result: RunResult) -> dict[str, Any]:
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_s": result.wall_s,
        "memo": result.memo,
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):  # a checkout on the path need not be installed
            yield name, version(name)


def _write_table(path: Path, columns: Columns, config_hash: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {name: pa.array(values) for name, values in columns.items()}
    fields = [pa.field(name, array.type, nullable=False) for name, array in arrays.items()]
    schema = pa.schema(fields, metadata={_METADATA: config_hash.encode()})
    table = pa.Table.from_arrays(list(arrays.values()), schema=schema)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _read_table(path: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
    except FileNotFoundError:
        raise InputError(str(path), "no such file; not a results folder") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(str(path), f"cannot be read: {_reason(error)}") from error
    return {name: _values(table.column(name)) for name in table.column_names}


def _values(column: Any) -> Any:
    import pyarrow as pa

    return column.to_pylist() if pa.types.is_string(column.type) else np.asarray(column)


def _real(folder: Path | str) -> Path:
    """The place itself, links followed."""
    if not str(folder):
        raise InputError("results", "the name of their folder is empty")
    path = Path(folder)
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(str(folder), f"not a usable path: {_reason(error)}") from error


@contextmanager
def _beside(folder: Path | str) -> Iterator[Path]:
    """A fresh folder in the same parent, removed at the end unless it was renamed."""
    target = _real(folder)
    if not target.parent.is_dir():
        raise InputError(
            str(folder), f"the folder it should lie in does not exist: {target.parent}"
        )
    stage = _fresh_name(target)
    try:
        stage.mkdir()
    except OSError as error:
        raise _unwritable(str(folder), error) from error
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _fresh_name(target: Path) -> Path:
    return target.with_name(f".ndpsim-{secrets.token_hex(6)}")


def _check_replaceable(target: Path, shown: str) -> None:
    try:
        if not target.exists():
            return
        if not target.is_dir():
            raise InputError(shown, "is a file, not a folder")
        if any(target.iterdir()) and not _is_ours(target):
            raise InputError(
                shown,
                "holds something other than results of an earlier run; name an empty or new folder",
            )
    except OSError as error:
        raise InputError(shown, f"cannot be used: {_reason(error)}") from error


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds nothing but the results of a run, or of a comparison."""
    names = {entry.name for entry in folder.iterdir()}
    if "run.json" in names:
        return names <= FILES
    if COMPARISON in names:
        rest = [folder / name for name in names - {COMPARISON}]
        return all(entry.is_dir() and _is_ours(entry) for entry in rest)
    return False


def _replace(target: Path, stage: Path) -> None:
    """Put a folder in another's place; on failure the old one stays."""
    if not target.exists():
        stage.rename(target)
        return
    aside = _fresh_name(target)
    target.rename(aside)
    try:
        stage.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _unwritable(shown: str, error: OSError) -> InputError:
    return InputError(shown, f"cannot be written: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
