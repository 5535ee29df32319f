"""`validate dram`: the DRAM model against runs of independent simulators.

A table is known by its columns, not its name. Parts are built from the folder's own geometry and
timing tables; every request pattern follows from its name. No value depends on a row's result.
"""

import statistics
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from ndpsim.dram import DramSpec, Issued, Run, generate, kernel, resolve
from ndpsim.dram.spec import ControllerSpec
from ndpsim.errors import ConfigError, InputError, SimulationError
from ndpsim.spec import load_preset
from ndpsim.validation.dram_tables import CONFIG, Folder, NotModelledError, Row, read_folder
from ndpsim.validation.reference import find_folder

RUN: Final = ("org_preset", "timing_preset", "mapper", "refresh", "pattern", "n_requests", "cycles")
FIGURES: Final = ("row_hits", "row_misses", "row_conflicts", "n_refresh")
LOG: Final = ("case", "clock", "command", "bank", "row", "column")
PATTERN: Final = ("org_preset", "pattern", "n_requests", "crc32", "L", "NR", "rows", "tx_bytes")
CROSS: Final = ("pattern", "n_requests", "refresh", "cycles_ramulator2_FRFCFS", "cycles_dramsim3")
OTHER: Final = ("config", "pattern", "n_requests", "cycles", "address_mapping")
MAX_WORST: Final = 5
"""Rows that a summary names."""

SPREADS: Final = (
    (("ms",), 0.40),
    (("pingpong",), 0.19),
    (("seq", "seqw", "r2w1", "r2w1s", "randr2w1"), 0.075),
)
"""How far two trusted simulators with equal timings differ, by pattern: a scheduling choice decides
the first two. Other patterns: `SPREAD`; short cases by `SPREAD_TICKS`."""
SPREAD: Final = 0.02
SPREAD_TICKS: Final = 2


@dataclass(frozen=True, slots=True)
class DramCase:
    """One row of a table and what the model says."""

    set: str
    case: str
    op: str
    """What is compared: cycles, commands or crc32."""
    expected: int
    got: int | None
    error_frac: float | None
    """Relative, signed: (got - expected) / expected."""
    reason: str | None
    """Why the row is not modelled, or how it differs besides."""
    exact: bool
    """Cycles and, where given, hits, misses, conflicts and refreshes are the same."""
    within: bool | None = None
    """For another simulator: within the spread of trusted simulators; None where exactness counts.
    """


def validate_dram(
    reference: str | None = None, sets: Sequence[str] | None = None
) -> list[DramCase]:
    """All rows of a folder of reference tables, or of those named in `sets`.

    Raises
    ------
    InputError
        There is no such folder, or nothing in it is a table of DRAM runs.
    """
    folder = read_folder(find_folder(reference, "dram"))
    cases = [
        case
        for columns, rows_of in (
            (RUN, _runs),
            (LOG, _logs),
            (PATTERN, _patterns),
            (CROSS, _cross),
            (OTHER, _others),
        )
        for stem, rows in folder.with_columns(*columns)
        if not (columns is RUN and "case" in folder.columns[stem])
        if sets is None or stem in sets
        for case in rows_of(folder, stem, rows)
    ]
    if not cases:
        raise InputError(str(folder.path), "none of its tables holds DRAM runs")
    return cases


def _runs(folder: Folder, stem: str, rows: Sequence[Row]) -> Iterator[DramCase]:
    for row in rows:
        yield _compared(stem, row, lambda row=row: _ran(folder, row))  # type: ignore[misc]


def _ran(folder: Folder, row: Row) -> Run:
    part = part_of_row(folder, row)
    return kernel.run(part, requests_of_row(part, row))


def _compared(stem: str, row: Row, ran: Callable[[], Run]) -> DramCase:
    """A run against the cycles, and where given all other figures, of its row."""
    expected = int(row["cycles"])
    try:
        run = ran()
    except (NotModelledError, ConfigError, SimulationError) as error:
        return _unmodelled(stem, row, expected, str(error))
    figures = figures_of(run)
    wrong = [
        f"{name} {figures[name]} instead of {row[name]}"
        for name in FIGURES
        if row.get(name) and int(row[name]) != figures[name]
    ]
    return DramCase(
        stem, case_name(row), "cycles", expected, run.cycles, run.cycles / expected - 1,
        "; ".join(wrong) or None, run.cycles == expected and not wrong,
    )  # fmt: skip


def _unmodelled(stem: str, row: Row, expected: int, reason: str) -> DramCase:
    reason = " ".join(reason.split())
    return DramCase(stem, case_name(row), "cycles", expected, None, None, reason, exact=False)


def part_of_row(folder: Folder, row: Row) -> DramSpec:
    """The part, mapper and controller settings of a row."""
    part = folder.part(row["org_preset"], row["timing_preset"], row.get("ranks", ""))
    settings: dict[str, Any] = {
        "refresh": _choice("refresh", row["refresh"], {"AllBank": "all-bank", "NoRefresh": "none"}),
        "scheduler": row.get("scheduler") or "FRFCFS",
        "row_policy": _choice("row policy", row.get("row_policy") or "Open", {"Open": "open"}),
    }
    for column, field in (("read_q", "read_queue"), ("write_q", "write_queue")):
        if row.get(column):
            settings[field] = int(row[column])
    return with_settings(part, settings, row["mapper"])


def with_settings(part: DramSpec, settings: dict[str, Any], mapper: str) -> DramSpec:
    """A part with other controller settings and another mapper, checked."""
    fields = part.model_dump(mode="json")
    fields["controller"] = ControllerSpec().model_dump(mode="json") | settings
    fields["mapper"] = mapper
    try:
        return DramSpec.model_validate(fields)
    except ValidationError as error:
        raise NotModelledError(error.errors()[0]["msg"]) from None


def _choice(what: str, given: str, known: dict[str, str]) -> str:
    if given not in known:
        raise NotModelledError(f"{what} {given} is not modelled")
    return known[given]


def requests_of_row(part: DramSpec, row: Row) -> kernel.Ints:
    """The transactions of a row's pattern."""
    seed = int(row.get("seed") or 1)
    return generate(row["pattern"], int(row["n_requests"]), resolve(part), seed)


def figures_of(run: Run) -> dict[str, int]:
    """What the tables count."""
    return {
        "row_hits": run.row_hits,
        "row_misses": run.row_misses,
        "row_conflicts": run.row_conflicts,
        "n_refresh": run.counts.get("REFab", 0),
    }


def case_name(row: Row) -> str:
    """What tells a row from the others of its table."""
    names = (
        "case", "config", "org_preset", "timing_preset", "ranks", "mapper", "scheduler", "refresh",
        "read_q", "pattern", "seed", "n_requests",
    )  # fmt: skip
    return " ".join(row[name] for name in names if row.get(name))


def _logs(folder: Folder, stem: str, rows: Sequence[Row]) -> Iterator[DramCase]:
    """Command traces, joined by their case with the table that describes the runs."""
    expected: dict[str, list[Row]] = {}
    for row in rows:
        expected.setdefault(row["case"], []).append(row)
    about = {
        row["case"]: row
        for _, table in folder.with_columns("case", "org_preset", "pattern", "n_requests")
        for row in table
    }
    for case, log in expected.items():
        if case not in about:
            reason = "no table describes this case"
            yield DramCase(stem, case, "commands", len(log), None, None, reason, exact=False)
            continue
        yield _compared_log(folder, stem, about[case], log)


def _compared_log(folder: Folder, stem: str, row: Row, log: Sequence[Row]) -> DramCase:
    n_commands = len(log)
    try:
        part = part_of_row(folder, row)
        run = kernel.run(part, requests_of_row(part, row), max_log=2 * n_commands + 100)
    except (NotModelledError, ConfigError, SimulationError) as error:
        why = " ".join(str(error).split())
        return DramCase(stem, row["case"], "commands", n_commands, None, None, why, exact=False)
    ours = [_entry(part, issued) for issued in run.log]
    same = 0
    for entry, wanted in zip(ours, log, strict=False):
        if not _equal(entry, wanted):
            break
        same += 1
    reason = None
    if same < n_commands or len(ours) != n_commands:
        reason = f"command {same + 1} differs" if same < n_commands else "commands too many"
    return DramCase(
        stem, row["case"], "commands", n_commands, same, same / n_commands - 1, reason,
        exact=reason is None,
    )  # fmt: skip


def _entry(part: DramSpec, issued: Issued) -> dict[str, int | str]:
    device = resolve(part)
    entry: dict[str, int | str] = {"clock": issued.tick, "command": issued.command}
    path = device.paths[issued.bank]
    depth = next(c.depth for c in device.commands if c.name == issued.command)
    for place in range(1, depth + 1):
        entry[device.objects[place]] = path[place] % device.counts[place]
    if issued.row >= 0:
        entry |= {"row": issued.row, "column": issued.column}
    return entry


def _equal(entry: dict[str, int | str], wanted: Row) -> bool:
    """Whether a command is the one of a log; what either leaves open agrees."""
    names = {"rank": "rank_or_sid", "sid": "rank_or_sid"}
    return all(
        wanted.get(names.get(name, name), "") in ("", str(value)) for name, value in entry.items()
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """A channel as a table of patterns describes it."""

    rows: int
    lines_per_row: int
    n_banks: int


def _patterns(folder: Folder, stem: str, rows: Sequence[Row]) -> Iterator[DramCase]:
    """Checksums of request streams."""
    for row in rows:
        expected = int(row["crc32"], 16)
        layout = _Layout(int(row["rows"]), int(row["L"]), int(row["NR"]))
        seed = int(row.get("seed") or 1)
        try:
            requests = generate(row["pattern"], int(row["n_requests"]), layout, seed)
        except ConfigError as error:
            yield DramCase(
                stem, case_name(row), "crc32", expected, None, None, str(error), exact=False
            )
            continue
        size = int(row["tx_bytes"])
        text = "".join(
            f"{'W' if write else 'R'} {line * size}\n" for line, write in requests.tolist()
        )
        got = zlib.crc32(text.encode())
        yield DramCase(
            stem, case_name(row), "crc32", expected, got, float(got != expected), None,
            exact=got == expected,
        )  # fmt: skip


def _cross(folder: Folder, stem: str, rows: Sequence[Row]) -> Iterator[DramCase]:
    """Two simulators with the timings of a DRAMsim3 configuration."""
    configs = _configs(folder)
    name = next((name for name in configs if name.startswith("DDR4") and "2400" in name), None)
    for row in rows:
        for scheduler in ("FRFCFS", "FRFCFSRowHit"):
            figures = dict(row) | {
                "case": f"{scheduler}",
                "cycles": row[f"cycles_ramulator2_{scheduler}"],
            }
            if name is None:
                reason = "the folder has no DDR4-2400 configuration with these timings"
                yield _unmodelled(stem, figures, int(figures["cycles"]), reason)
                continue
            config = configs[name]

            def ran(
                row: Row = row, config: dict[str, str] = config, scheduler: str = scheduler
            ) -> Run:
                part = with_settings(
                    _part_of_config(config),
                    {"scheduler": scheduler, "refresh": _switched(row["refresh"])},
                    "RoBaRaCoCh",
                )
                return kernel.run(part, requests_of_row(part, row))

            yield _compared(stem, figures, ran)


def _others(folder: Folder, stem: str, rows: Sequence[Row]) -> Iterator[DramCase]:
    """Runs of DRAMsim3: another controller, so judged by the spread of trusted simulators."""
    configs = _configs(folder)
    for row in rows:
        if row["config"] not in configs:
            yield _unmodelled(stem, row, int(row["cycles"]), "its configuration is not listed")
            continue

        def ran(row: Row = row) -> Run:
            queue = {"read_queue": int(row.get("trans_queue_size") or 32)}
            base = _part_of_config(configs[row["config"]])
            part = with_settings(
                base,
                {"refresh": _switched(row["refresh"])} | queue,
                _mapper(row["address_mapping"], base),
            )
            return kernel.run(part, requests_of_row(part, row))

        case = _compared(stem, {k: v for k, v in row.items() if k not in FIGURES}, ran)
        within = None if case.got is None else _is_within(row, case)
        yield DramCase(
            case.set, case.case, case.op, case.expected, case.got, case.error_frac, case.reason,
            case.exact, within,
        )  # fmt: skip


def _is_within(row: Row, case: DramCase) -> bool:
    assert case.got is not None
    if abs(case.got - case.expected) <= SPREAD_TICKS:
        return True
    kind = row["pattern"].split(":")[0]
    limit = next((limit for kinds, limit in SPREADS if kind in kinds), SPREAD)
    return abs(case.error_frac or 0.0) <= limit


def _configs(folder: Folder) -> dict[str, dict[str, str]]:
    """DRAMsim3 configurations by name."""
    configs: dict[str, dict[str, str]] = {}
    for _, table in folder.with_columns(*CONFIG):
        for row in table:
            configs.setdefault(row["config"], {})[row["param"]] = row["value"]
    return configs


def _switched(refresh: str) -> str:
    return "none" if refresh.startswith("off") or refresh == "NoRefresh" else "all-bank"


def _mapper(text: str, part: DramSpec) -> str:
    """DRAMsim3's string as a bit string, without the levels that the part has not."""
    fields = [text[i : i + 2] for i in range(0, len(text), 2)]
    missing = {"ch"} | ({"ra"} if "rank" not in part.standard.levels else set())
    return " ".join(field for field in fields if field not in missing)


_MICROSECONDS_OF_REFRESH: Final = {"DDR4": 7.8, "LPDDR4": 3.9, "HBM": 3.9}
"""tREFI where a configuration's table does not list it: the standards' values."""


def _part_of_config(config: dict[str, str]) -> DramSpec:
    """A part with the values of a DRAMsim3 configuration.

    Its protocols share one set of rules, that of DDR4, or of HBM2 where rows and columns have their
    own command buses.
    """
    protocol = config["protocol"]
    if protocol not in _MICROSECONDS_OF_REFRESH:
        raise NotModelledError(f"protocol {protocol} is not modelled")
    is_hbm = protocol == "HBM"
    base = load_preset("dram", "hbm2-8gb-2000mbps" if is_hbm else "ddr4-8gb-x8-2400r", DramSpec)
    n = {key: value for key, value in config.items() if key.startswith(("t", "CL", "CWL"))}
    tck_ns = float(n["tCK"])
    burst = int(float(config["derived_burst_cycles"]))
    t = {key: int(float(value)) for key, value in n.items() if key not in ("tCK",) and value}
    # the period is given in two digits: the nominal clock is a whole number of 100 MHz
    clock_mhz = 100 * round(10 / tck_ns)
    interval = t.get("tREFI", round(_MICROSECONDS_OF_REFRESH[protocol] * clock_mhz))
    timing = {
        "nBL": burst,
        "nCL": t["CL"],
        "nCWL": t["CWL"],
        "nRP": t["tRP"],
        "nRAS": t["tRAS"],
        "nRC": t["tRAS"] + t["tRP"],
        "nWR": t["tWR"],
        "nCCD_S": t["tCCD_S"],
        "nCCD_L": t["tCCD_L"],
        "nRRD_S": t["tRRD_S"],
        "nRRD_L": t["tRRD_L"],
        "nFAW": t["tFAW"],
        "nWTR_S": t["tWTR_S"],
        "nWTR_L": t["tWTR_L"],
        "nRFC": t["tRFC"],
        "nREFI": interval,
    }
    if is_hbm:
        timing |= {"nRCDRD": t["tRCDRD"], "nRCDWR": t["tRCDWR"], "nRTP_L": t["tRTP_L"]}
    else:
        timing |= {"nRCD": t["tRCD"], "nRTP": t["tRTP"], "nCS": max(t.get("tRTRS", 1), 1)}
    counts = {
        "pseudochannel" if is_hbm else "rank": 1,
        "bankgroup": int(config["effective_bankgroups"]),
        "bank": int(config["effective_banks_per_group"]),
        "row": int(config["rows"]),
        "column": int(config["derived_L_lines_per_row"]) * int(config["BL"]),
    }
    fields = base.model_dump(mode="json")
    fields |= {
        "timing": timing,
        "clock": f"{round(1e9 / tck_ns)} Hz",
        "organisation": {
            "channel_width_bits": int(config["derived_tx_bytes"]) * 8 // int(config["BL"]),
            "burst_length": int(config["BL"]),
            "counts": counts,
        },
    }
    try:
        return DramSpec.model_validate(fields)
    except ValidationError as error:
        raise NotModelledError(error.errors()[0]["msg"]) from None


def summarize_dram(cases: Sequence[DramCase]) -> dict[str, Any]:
    """Per table: cases, exact ones, errors, the worst rows."""
    by_set: dict[str, list[DramCase]] = {}
    for case in cases:
        by_set.setdefault(case.set, []).append(case)
    return {
        "rows": len(cases),
        "exact": sum(case.exact for case in cases),
        "files": [{"set": name, **_statistics(group)} for name, group in by_set.items()],
    }


def _statistics(group: Sequence[DramCase]) -> dict[str, Any]:
    errors = [abs(case.error_frac) for case in group if case.error_frac is not None]
    worst = sorted(
        (case for case in group if not case.exact),
        key=lambda case: -abs(case.error_frac) if case.error_frac is not None else -1e9,
    )
    judged = [case.within for case in group if case.within is not None]
    return {
        "cases": len(group),
        "modelled": len(errors),
        "exact": sum(case.exact for case in group),
        "median_abs_error": round(statistics.median(errors), 6) if errors else None,
        "max_abs_error": round(max(errors), 6) if errors else None,
        "within_spread": sum(judged) if judged else None,
        "worst": [
            {"case": case.case, "expected": case.expected, "got": case.got, "reason": case.reason}
            for case in worst[:MAX_WORST]
        ],
    }
