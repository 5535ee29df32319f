import pytest

from ndpsim.dram import kernel, reference
from ndpsim.validation.dram import FIGURES, figures_of, part_of_row, requests_of_row, validate_dram
from tests.dram import golden

pytestmark = pytest.mark.skipif(not golden.FOLDER.is_dir(), reason=golden.REASON)

MOST_REQUESTS = 4200
"""Of a case that is always tested; the longer ones repeat these."""


def _case(row):
    names = ("timing_preset", "ranks", "mapper", "refresh", "read_q", "pattern", "n_requests")
    return "-".join(row[name] for name in names if row.get(name))


def _figures(run):
    return run.cycles, *figures_of(run).values()


def _expected(row):
    return int(row["cycles"]), *(int(row[name]) for name in FIGURES)


@pytest.fixture(scope="module")
def folder():
    return golden.tables()


@pytest.mark.parametrize("row", golden.rows("ramulator2_micro", most_requests=16), ids=_case)
def test_reference_matches_micro_cases(row, folder):
    part = part_of_row(folder, row)
    requests = requests_of_row(part, row).tolist()
    assert _figures(reference.run(part, requests)) == _expected(row)


@pytest.mark.parametrize(
    "row",
    golden.rows(
        "ramulator2_micro", "ramulator2_main", "ramulator2_sensitivity", most_requests=MOST_REQUESTS
    ),
    ids=_case,
)
def test_kernel_matches_every_table(row, folder, jit):
    part = part_of_row(folder, row)
    assert _figures(kernel.run(part, requests_of_row(part, row))) == _expected(row)


def test_command_traces_are_the_same(folder, jit):
    cases = validate_dram(str(golden.FOLDER), sets=("ramulator2_command_traces",))
    assert len(cases) >= 66
    assert [case for case in cases if not case.exact] == []


@pytest.mark.slow
def test_every_case_of_the_reference_simulator_is_exact(jit):
    cases = validate_dram(str(golden.FOLDER))
    of_ramulator = [case for case in cases if case.within is None]
    assert [case for case in of_ramulator if not case.exact] == []
    assert [case for case in cases if case.got is None] == []
    judged = [case.within for case in cases if case.within is not None]
    assert sum(judged) / len(judged) > 0.8
