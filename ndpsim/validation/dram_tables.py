"""Tables of measured DRAM runs: parts built from a folder's own geometry and timing tables."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ndpsim.dram import DramSpec, StandardSpec, preset_of
from ndpsim.dram.spec import CLOCK, latency_cycles
from ndpsim.errors import InputError
from ndpsim.spec import load_preset, preset_names
from ndpsim.units import PS_PER_S

Row = Mapping[str, str]

LEVEL_COLUMNS: Final = {
    "pseudochannel": "pseudochannels",
    "rank": "ranks",
    "sid": "sids",
    "bankgroup": "bankgroups",
    "bank": "banks_per_group",
    "row": "rows",
    "column": "columns",
}
"""Level -> the column of a geometry table that counts it."""
GEOMETRY: Final = ("standard", "org_preset", "timing_preset", "channel_width_bits", "prefetch")
TIMING: Final = ("org_preset", "timing_preset", "param", "value_ck")
CONFIG: Final = ("config", "param", "value")


class NotModelledError(Exception):
    """Why a row cannot be modelled."""


@dataclass
class Folder:
    """The tables of a folder."""

    path: Path
    tables: dict[str, list[Row]]
    """Stem of the file -> its rows."""
    columns: dict[str, frozenset[str]]
    _parts: dict[tuple[str, ...], DramSpec | str] = field(default_factory=dict)

    def with_columns(self, *wanted: str) -> Iterator[tuple[str, list[Row]]]:
        """Tables that have all these columns, by the stems of their files."""
        for stem, columns in sorted(self.columns.items()):
            if columns.issuperset(wanted):
                yield stem, self.tables[stem]

    def part(self, org: str, timing: str, ranks: str) -> DramSpec:
        """The part of an organisation and timing, with the default mapper and controller.

        From the folder's tables; a preset of ours if they do not hold it.
        """
        key = org, timing, ranks
        if key not in self._parts:
            try:
                self._parts[key] = self._build(*key)
            except NotModelledError as error:
                self._parts[key] = str(error)
        part = self._parts[key]
        if isinstance(part, str):
            raise NotModelledError(part)
        return part

    def _build(self, org: str, timing: str, ranks: str) -> DramSpec:
        geometry = self._rows(GEOMETRY, org, timing, ranks)
        symbols = {row["param"]: row["value_ck"] for row in self._rows(TIMING, org, timing, ranks)}
        if not geometry or not symbols:
            name = preset_of(org, timing)
            if name not in preset_names("dram"):
                raise NotModelledError(f"no geometry and timings of {org} with {timing}")
            part = load_preset("dram", name, DramSpec)
            return _with_ranks(part, ranks)
        return _with_ranks(part_from_tables(geometry[0], symbols), ranks)

    def _rows(self, columns: tuple[str, ...], org: str, timing: str, ranks: str) -> list[Row]:
        """Rows of the folder's table with these columns that describe a part.

        Where its number of ranks is not listed or not known, those of one rank, or else all.
        """
        rows = [
            row
            for _, table in self.with_columns(*columns)
            for row in table
            if (row["org_preset"], row["timing_preset"]) == (org, timing)
        ]
        for wanted in (ranks, "1"):
            found = [row for row in rows if row.get("ranks", "") == wanted]
            if found:
                return found
        return rows


def read_folder(path: Path) -> Folder:
    """All CSV tables of a folder."""
    tables: dict[str, list[Row]] = {}
    columns: dict[str, frozenset[str]] = {}
    for file in sorted(path.glob("*.csv")):
        try:
            with file.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                tables[file.stem] = [
                    {key: value or "" for key, value in row.items() if key} for row in reader
                ]
                columns[file.stem] = frozenset(reader.fieldnames or ())
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(str(file), f"not a readable CSV table: {error}") from None
    return Folder(path, tables, columns)


def _with_ranks(part: DramSpec, ranks: str) -> DramSpec:
    counts = part.organisation.counts
    if "rank" not in counts or not ranks:
        return part
    organisation = part.organisation.model_copy(update={"counts": counts | {"rank": int(ranks)}})
    return part.model_copy(update={"organisation": organisation})


def standard_named(name: str) -> StandardSpec:
    """The shipped standard that a table means."""
    known = {standard.replace("-", ""): standard for standard in preset_names("dram/standard")}
    key = name.lower().replace("-", "").replace("_", "")
    if key not in known:
        raise NotModelledError(f"standard {name} is not modelled")
    return load_preset("dram/standard", known[key], StandardSpec)


def symbols_of(standard: StandardSpec, given: Mapping[str, str]) -> dict[str, int]:
    """The standard's symbols from a table's, which are spelt without underscores."""
    plain = {name.replace("_", ""): value for name, value in given.items()}
    found = {}
    for symbol in sorted(standard.symbols()):
        value = plain.get(symbol.replace("_", ""))
        if value is None:
            raise NotModelledError(f"the timing table lacks {symbol}")
        found[symbol] = _whole(value, symbol)
    return found


def part_from_tables(geometry: Row, symbols: Mapping[str, str]) -> DramSpec:
    """A part from a row of a geometry table and its timings in clocks."""
    standard = _with_lengths(standard_named(geometry["standard"]), geometry)
    timing = symbols_of(standard, symbols)
    counts = {
        level: _whole(geometry.get(LEVEL_COLUMNS[level]) or "1", level)
        for level in standard.levels[1:]
    }
    tick = geometry.get("tick_ps") or ""
    clock = geometry.get("tCK_ps_nominal") or tick
    fields: dict[str, Any] = {
        "standard": standard.model_dump(mode="json"),
        "organisation": {
            "channel_width_bits": _whole(geometry["channel_width_bits"], "channel_width_bits"),
            "burst_length": _whole(geometry["prefetch"], "prefetch"),
            "counts": counts,
        },
        "clock": f"{PS_PER_S // _whole(clock, 'tCK_ps_nominal')} Hz",
        "timing": timing,
    }
    try:
        part = DramSpec.model_validate(fields)
    except ValidationError as error:
        raise NotModelledError(error.errors()[0]["msg"]) from None
    return _with_read_latency(part, geometry.get("read_latency_ticks") or "")


def _with_lengths(standard: StandardSpec, geometry: Row) -> StandardSpec:
    """The standard with the command lengths of a geometry table."""
    pairs = (pair.split("=") for pair in geometry.get("cmd_cycles_ticks", "").split())
    lengths = {name: _whole(ticks, name) for name, ticks in pairs}
    commands = tuple(
        command.model_copy(update={"ticks": lengths.get(command.name, command.ticks)})
        for command in standard.commands
    )
    return standard.model_copy(update={"commands": commands})


def _with_read_latency(part: DramSpec, given: str) -> DramSpec:
    """The part with the read latency that a geometry table states."""
    standard = part.standard
    missing = _whole(given, "read_latency_ticks") if given else 0
    missing -= latency_cycles(standard.read_latency, part.ticks())
    if not given or missing == 0:
        return part
    clocks, rest = divmod(missing, standard.ticks_per_clock)
    if rest:
        raise NotModelledError(f"a read latency of {given} ticks is not whole clocks")
    latency = dict(standard.read_latency)
    latency[CLOCK] = latency.get(CLOCK, 0) + clocks
    return part.model_copy(
        update={"standard": standard.model_copy(update={"read_latency": latency})}
    )


def _whole(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NotModelledError(f"{what}: '{text}' is not a whole number") from None
