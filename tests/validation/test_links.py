from pathlib import Path

import pytest

from ndpsim.engine import Engine
from ndpsim.errors import ConfigError, InputError
from ndpsim.validation.collectives import collective_us
from ndpsim.validation.hosts import find_cpu, find_link
from ndpsim.validation.links import summarize_links, validate_links
from ndpsim.validation.summary import statistics_of

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
LAUNCH_PS = 2_900_000
"""A kernel inside a graph on an H100."""


@pytest.fixture(scope="module")
def cases():
    if not (REFERENCE / "pcie_cpu.csv").is_file():
        pytest.skip("no measured data: ../shared/reference/pcie_cpu.csv is absent")
    return validate_links(str(REFERENCE))


def test_long_copies_agree_within_the_target(cases) -> None:
    (target,) = summarize_links(cases)["targets"]
    assert target["n"] >= 40
    assert target["median_abs_error"] <= target["target"]
    assert abs(target["bias"]) <= 0.08


def test_cpu_experts_and_host_memory_agree_roughly(cases) -> None:
    """No target is set; the spread between kernels on one host is as large."""
    for kind, limit in (("cpu_bw", 0.25), ("cpu_expert_compute", 0.35)):
        assert statistics_of([c for c in cases if c.op == kind])["median_abs_error"] <= limit


def test_every_row_is_modelled_or_has_a_reason(cases) -> None:
    assert len(cases) == 83
    assert all((case.error_frac is None) == (case.reason is not None) for case in cases)


def test_a_missing_column_is_named(tmp_path) -> None:
    (tmp_path / "pcie_cpu.csv").write_text("category,gpu\nmemcpy,RTX4090\n")
    with pytest.raises(InputError, match=r"pcie_cpu.csv: missing columns cpu, host_memory"):
        validate_links(str(tmp_path))


def test_names_of_hosts_and_links() -> None:
    assert find_cpu("Ryzen 7950X dual-channel DDR5").clusters == 2
    assert find_cpu("2x Xeon Gold 6526Y", "one NUMA node").numa_nodes == 1
    assert find_cpu("2x Xeon Gold 6526Y", "spanning both").numa_nodes == 2
    assert find_link("PCIe5 x8", pinned=True).lanes == 8
    assert find_link("PCIe4 x16", pinned=False).staging is not None
    with pytest.raises(ConfigError, match="no preset for 'PCIe9'"):
        find_link("PCIe9", pinned=True)
    with pytest.raises(ConfigError, match="the host is not named"):
        find_cpu("")


def test_cpu_experts_and_copies_slow_each_other_on_the_same_memory() -> None:
    """Measured (FreeToken issue 281): alone 65.8 and 25.1 GB/s, together 43.4 and 21.6."""
    capacity = {"memory": 65_800_000_000, "pcie": 25_100_000_000}
    engine = Engine(capacity)
    kernel = engine.flow("expert", ("memory",), 10**9)
    copy = engine.flow("copy", ("memory", "pcie"), 10**9)
    engine.run(engine.delay("end", 0, [copy]))
    copied_ps = copy.end_ps
    engine.run(engine.delay("end", 0, [kernel]))
    cpu_rate = 65.8 - 10**9 / copied_ps * 1e3
    assert 10**9 / copied_ps * 1e3 == pytest.approx(21.6, rel=0.2)
    assert cpu_rate == pytest.approx(43.4, rel=0.1)


@pytest.mark.parametrize(
    ("gpu", "op", "framework", "n_gpus", "n_bytes", "measured_us"),
    [
        ("H100-SXM-80GB", "allreduce", "nccl/2.29.2", 8, 512, 15.59),
        ("H100-SXM-80GB", "allreduce", "nccl/2.29.2", 8, 2097152, 38.18),
        ("H100-SXM-80GB", "allreduce", "nccl/2.29.2", 4, 33554432, 175.67),
        ("H100-SXM-80GB", "allreduce", "vllm/0.24.0", 8, 2048, 4.65),
        ("A100-SXM4-80GB", "all_gather", "nccl/2.27.3", 8, 8388608, 73.51),
    ],
)
def test_collectives_come_near_what_was_measured(
    gpu, op, framework, n_gpus, n_bytes, measured_us
) -> None:
    """Single published points; whole tables are compared by `validate gpu`."""
    got_us = collective_us(gpu, op, framework, n_gpus, n_bytes, LAUNCH_PS)
    assert got_us == pytest.approx(measured_us, rel=0.25)


def test_a_machine_whose_links_are_not_stated_is_not_guessed() -> None:
    with pytest.raises(ConfigError, match=r"how the GPUs of the 'V100.*joined is not stated"):
        collective_us("V100-PCIE-16GB", "allreduce", "nccl-tests", 4, 1024, LAUNCH_PS)
    with pytest.raises(ConfigError, match="no model of 'scatter'"):
        collective_us("B200-SXM", "scatter", "nccl/2.29.2", 8, 1024, LAUNCH_PS)
