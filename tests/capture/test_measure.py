"""The measuring script runs on whatever is at hand; here small shapes on the CPU."""

import csv

import pytest

torch = pytest.importorskip(
    "torch", reason="torch is an optional extra: pip install ndpsim[capture]"
)

from ndpsim.capture import measure  # noqa: E402
from ndpsim.validation import validate_gpu  # noqa: E402
from ndpsim.validation.links import validate_links  # noqa: E402


@pytest.fixture(scope="module")
def rows():
    return measure.measure_all("cpu", "rtx-4090", measure.QUICK)


def test_every_kind_is_measured(rows) -> None:
    assert set(rows) == {"gemm", "attention", "moe", "launch", "pcie_cpu"}
    assert all(row["time_us"] > 0 for table in rows.values() for row in table)
    dtypes = {row["dtype"] for row in rows["gemm"]}
    assert dtypes == {"fp16", "bf16"}  # 8-bit products are a GPU's
    assert {row["m"] for row in rows["gemm"]} == {1, 16}
    assert len(rows["pcie_cpu"]) == 2


def test_tables_are_those_that_validation_reads(rows, tmp_path) -> None:
    measure.write_tables(rows, tmp_path)
    with (tmp_path / "gemm.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == len(rows["gemm"])
    assert tuple(found[0]) == measure.SHARED
    cases = validate_gpu(str(tmp_path))
    modelled = {case.set for case in cases if case.got is not None}
    assert {"gemm", "attention", "moe"} <= modelled
    assert all(case.got is None for case in validate_links(str(tmp_path)))  # the host is not named


def test_weights_rotate_over_more_than_a_cache_holds() -> None:
    bench = measure.Bench(torch.device("cpu"), "cpu", measure.Plan())
    assert bench.n_copies(2 << 20) * (2 << 20) >= bench.plan.cold_bytes
    assert bench.n_copies(1 << 40) == 1


def test_the_full_plan_covers_decode_and_prefill_of_experts() -> None:
    plan = measure.Plan()
    assert min(plan.tokens) == 1
    assert max(plan.tokens) == 512
    assert (plan.copies[0], plan.copies[-1]) == (4096, 2**30)
    assert {"fp16", "bf16", "fp8"} == set(plan.dtypes)
