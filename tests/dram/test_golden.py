import csv

import pytest

from ndpsim.dram import DramSpec, Run, kernel, reference, resolve
from tests.dram import golden

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason=golden.REASON)

FIGURES = ("cycles", "row_hits", "row_misses", "row_conflicts", "n_refresh")
MOST_REQUESTS = 40_000
"""Of a case that is tested; the longer ones repeat these."""


def _case(row: dict[str, str]) -> str:
    names = ("timing_preset", "ranks", "mapper", "refresh", "pattern", "n_requests")
    return "-".join(row[name] for name in names)


def _requests(row: dict[str, str], part: DramSpec) -> list[tuple[int, bool]]:
    return golden.pattern(row["pattern"], row.get("seed"), int(row["n_requests"]), part)


def _figures(run: Run) -> tuple[int, ...]:
    refreshes = run.counts.get("REFab", 0)
    return run.cycles, run.row_hits, run.row_misses, run.row_conflicts, refreshes


def _expected(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(row[name]) for name in FIGURES)


@pytest.mark.parametrize("row", golden.rows("ramulator2_micro.csv"), ids=_case)
def test_reference_matches_micro_cases(row):
    part = golden.part(row)
    assert _figures(reference.run(part, _requests(row, part))) == _expected(row)


@pytest.mark.parametrize(
    "row",
    [
        row
        for name in ("micro", "main", "sensitivity")
        for row in golden.rows(f"ramulator2_{name}.csv")
        if int(row["n_requests"]) <= MOST_REQUESTS
    ],
    ids=_case,
)
def test_kernel_matches_every_table(row, jit):
    part = golden.part(row)
    assert _figures(kernel.run(part, _requests(row, part))) == _expected(row)


def _logs() -> dict[str, list[tuple[object, ...]]]:
    places = ("rank_or_sid", "bankgroup", "bank", "row", "column")
    logs: dict[str, list[tuple[object, ...]]] = {}
    with (golden.FOLDER / "ramulator2_command_traces.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if not row["case"].startswith("DDR4"):
                continue
            entry = (int(row["clock"]), row["command"], *(int(row[name]) for name in places))
            logs.setdefault(row["case"], []).append(entry)
    return logs


@pytest.fixture(scope="module")
def logs():
    return _logs()


@pytest.mark.parametrize(
    "row", golden.rows("ramulator2_command_trace_index.csv"), ids=lambda row: row["case"]
)
def test_reference_issues_the_same_commands(row, logs):
    part = golden.part(row)
    device = resolve(part)
    run = reference.run(part, _requests(row, part))
    ours = [
        (
            issued.tick,
            issued.command,
            *(
                index % count
                for index, count in zip(
                    device.paths[issued.bank][1:], device.counts[1:], strict=True
                )
            ),
            issued.row,
            issued.column,
        )
        for issued in run.log
    ]
    assert ours == logs[row["case"]]
