"""The folder of a sweep: a journal that survives anything, and the table made of it.

``sweep.json`` says what is swept; ``journal.jsonl`` holds a line per finished point, on disk before
the next is accepted; ``points/`` the configuration of each point, ``errors/`` a text per point that
could not be run; ``results.parquet`` is written when all points are there, and the journal is then
put in order, so that both are the same bytes however the sweep was run.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from ndpsim.errors import InputError
from ndpsim.study.sweep.worker import OK, STATES, Row

HEADER: Final = "sweep.json"
JOURNAL: Final = "journal.jsonl"
TABLE: Final = "results.parquet"
META: Final = "meta.json"
POINTS: Final = "points"
ERRORS: Final = "errors"
SHARD: Final = 1000
"""Files per folder."""


@dataclass
class Store:
    """An open sweep folder; nobody else writes to it."""

    folder: Path
    journal: IO[bytes]
    lines: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Point -> offset and length of its line in the journal."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    """Finished points by status."""

    def add(self, row: Row) -> None:
        """Note a finished point; it is on disk when this returns."""
        trace = row.pop("trace", None)
        error = self.folder / ERRORS / _sharded(row["point"], "txt")
        if row["status"] != OK:
            text = f"{row['status']}: {row['error']}\n"
            text += f"configuration: {self.config(row['point']).relative_to(self.folder)}\n"
            _write(error, text + (f"\n{trace}" if trace else ""))
        elif row["point"] in self.lines:
            error.unlink(missing_ok=True)
        line = _line(row)
        offset = self.journal.seek(0, os.SEEK_END)
        self.journal.write(line)
        self.journal.flush()
        os.fsync(self.journal.fileno())
        if row["point"] in self.lines:
            self.counts[self.row(row["point"])["status"]] -= 1
        self.lines[row["point"]] = (offset, len(line))
        self.counts[row["status"]] += 1

    def row(self, point: int) -> Row:
        """The row of a finished point."""
        offset, length = self.lines[point]
        self.journal.seek(offset)
        return dict(json.loads(self.journal.read(length)))

    def rows(self) -> Iterator[Row]:
        """Rows of finished points in the order of points."""
        for point in sorted(self.lines):
            yield self.row(point)

    def config(self, point: int) -> Path:
        """Where the configuration of a point lies."""
        return self.folder / POINTS / _sharded(point, "yaml")

    def put_config(self, point: int, text: str) -> None:
        """Write the configuration of a point, unless it is there."""
        path = self.config(point)
        if not path.exists():
            _write(path, text)

    def finish(self, write_table: Callable[[Path], None]) -> None:
        """Write the table, and the journal in the order of points."""
        _replace(self.folder / TABLE, write_table)

        def ordered(path: Path) -> None:
            with path.open("wb") as file:
                file.writelines(_line(row) for row in self.rows())

        _replace(self.folder / JOURNAL, ordered)
        if not any((self.folder / ERRORS).glob("*/*")):
            for shard in (self.folder / ERRORS).glob("*"):
                shard.rmdir()
            with suppress(FileNotFoundError):
                (self.folder / ERRORS).rmdir()


@contextmanager
def opened(folder: Path | str, header: Mapping[str, Any]) -> Iterator[Store]:
    """The folder of a sweep, new or to be continued.

    Raises
    ------
    InputError
        It holds something else or another sweep, another process writes to it, or it cannot be
        written.
    """
    path = _prepared(folder, header)
    try:
        journal = (path / JOURNAL).open("a+b")
    except OSError as error:
        raise _unusable(folder, error) from None
    with journal:
        _lock(journal, str(folder))
        lines = _read_journal(journal, path / JOURNAL)
        store = Store(path, journal, lines)
        for row in store.rows():
            store.counts[row["status"]] += 1
        yield store


def check(folder: Path | str, header: Mapping[str, Any]) -> int:
    """Points already finished in a folder; raises as `opened` does and writes nothing."""
    path = Path(folder)
    _check(path, header, str(folder))
    journal = path / JOURNAL
    return sum(1 for _ in journal.open("rb")) if journal.exists() else 0


def read_header(folder: Path | str) -> dict[str, Any]:
    """What a sweep folder says it holds."""
    path = Path(folder) / HEADER
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(str(folder), f"not the folder of a sweep: no {HEADER}") from None
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"cannot be read: {error}") from None


def read_rows(folder: Path | str) -> list[Row]:
    """Rows of a sweep that may still be running, in the order of points."""
    path = Path(folder) / JOURNAL
    if not path.exists():
        return []
    with path.open("rb") as journal:
        store = Store(Path(folder), journal, _read_journal(journal, path, repair=False))
        return list(store.rows())


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """What may differ between equal sweeps."""
    _write(folder / META, json.dumps(meta, indent=2) + "\n")


def _prepared(folder: Path | str, header: Mapping[str, Any]) -> Path:
    path = Path(folder)
    try:
        _check(path, header, str(folder))
        path.mkdir(exist_ok=True)
        if not (path / HEADER).exists():
            text = json.dumps(header, indent=2, ensure_ascii=False) + "\n"
            _replace(path / HEADER, lambda stage: _write(stage, text))
        probe = path / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unusable(folder, error) from None
    return path


def _check(path: Path, header: Mapping[str, Any], shown: str) -> None:
    """Raise unless the folder can hold this sweep."""
    if not shown:
        raise InputError("-o", "the name of the folder is empty")
    try:
        if path.exists() and not path.is_dir():
            raise InputError(shown, "is a file, not a folder")
        if not path.exists() and not path.resolve().parent.is_dir():
            raise InputError(shown, f"the folder it should lie in does not exist: {path.parent}")
        names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    except OSError as error:
        raise _unusable(shown, error) from None
    if HEADER in names:
        if read_header(path)["identity"] != header["identity"]:
            raise InputError(
                shown,
                "holds another sweep, or this one before its file, presets or trace changed; "
                "name a new folder",
            )
    elif {name for name in names if not name.startswith(".")}:
        raise InputError(
            shown, "holds something other than this sweep; name an empty or new folder"
        )


def _lock(journal: IO[bytes], shown: str) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: nothing keeps a second process out
        return
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(shown, "another process is writing this sweep") from None


def _read_journal(
    journal: IO[bytes], path: Path, *, repair: bool = True
) -> dict[int, tuple[int, int]]:
    """Where each point's line lies; what a kill left of the last line is cut off."""
    lines: dict[int, tuple[int, int]] = {}
    offset = 0
    journal.seek(0)
    for line in journal:
        point = _point(line)
        if point is None:
            if journal.read(1):
                raise InputError(str(path), f"damaged at byte {offset}")
            break
        lines[point] = (offset, len(line))
        offset += len(line)
    if repair:
        journal.truncate(offset)
    return lines


def _point(line: bytes) -> int | None:
    """The point of a journal line; None for a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return int(json.loads(line)["point"])
    except (ValueError, KeyError, TypeError):
        return None


def _line(row: Row) -> bytes:
    text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def _sharded(point: int, suffix: str) -> str:
    return f"{point // SHARD:03d}/{point:06d}.{suffix}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Put a whole file in place at once."""
    stage = path.with_name(f".{path.name}")
    write(stage)
    with stage.open("rb") as file:
        os.fsync(file.fileno())
    stage.replace(path)


def _unusable(folder: Path | str, error: OSError) -> InputError:
    return InputError(str(folder), f"cannot be written: {(error.strerror or str(error)).lower()}")
