"""`validate gpu` on made-up tables and, where they are at hand, on measured ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import ConfigError, InputError
from ndpsim.spec import preset_names
from ndpsim.validation import gpu_preset, summarize, validate_gpu
from ndpsim.validation.routing import expert_loads
from ndpsim.validation.summary import BIAS_TARGET, noise_floor, statistics_of

SHARED = Path(__file__).parents[3] / "shared" / "reference" / "gpu"
HEAD = "gpu,framework,op,layer,dtype,timing,l2_warm,notes,time_us,m,n,k"
ROW = "A100-SXM4-80GB,{framework},gemm,,{dtype},{timing},{warm},,{us},1,8192,8192"


def row(us: object = 90.0, **cells: str) -> str:
    usual = {"framework": "a", "dtype": "bf16", "timing": "cuda_graph_replay", "warm": "no"}
    return ROW.format(us=us, **(usual | cells))


@pytest.fixture
def table(tmp_path):
    """Writes a gemm table of these rows and returns its folder."""

    def write(*rows: str, head: str = HEAD, name: str = "gemm.csv") -> str:
        (tmp_path / name).write_text("\n".join([head, *rows]) + "\n")
        return str(tmp_path)

    return write


def test_a_row_becomes_a_case_with_a_signed_relative_error(table) -> None:
    (case,) = validate_gpu(table(row(us=50.0)))
    assert (case.set, case.op, case.expected, case.reason) == ("gemm", "gemm", 50.0, None)
    assert case.got is not None
    assert case.error_frac == pytest.approx(case.got / 50.0 - 1)
    assert case.error_frac > 0.5  # 134 MB cannot come from memory in 50 us


def test_a_slower_measurement_changes_the_error_but_not_the_model(table) -> None:
    fast, slow = validate_gpu(table(row(us=80.0), row(us=160.0)))
    assert fast.got == slow.got


def test_how_a_row_was_timed_decides_what_a_launch_costs(table) -> None:
    kinds = ("kernel_time_profiler", "cuda_graph_replay", "cuda_event_eager", "wall_clock_loop")
    none, graph, eager, loop = (c.got for c in validate_gpu(table(*(row(timing=k) for k in kinds))))
    assert none < graph < eager
    assert loop == graph  # the host runs ahead of a long kernel


def test_weights_in_l2_are_read_faster_and_stand_apart(table) -> None:
    small = "A100-SXM4-80GB,a,gemm,,bf16,cuda_graph_replay,{},,9.0,1,2048,4096"
    cold, warm = validate_gpu(table(small.format("no"), small.format("yes")))
    assert warm.got < cold.got
    assert (cold.part, warm.part) == ("headline", "L2 warm: yes")


def test_narrow_activations_pay_for_a_kernel_that_narrows_them(table) -> None:
    stored_narrow, computed_narrow = validate_gpu(
        table(row(dtype="int8_w8a16"), row(dtype="int8_w8a8"))
    )
    assert computed_narrow.got > stored_narrow.got


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"dtype": "fp8"}, "no GEMM rate for format 'fp8'; this GPU has: bf16, fp16, fp32, int8"),
        ({"dtype": "int3"}, "dtype: no format known for 'int3'"),
        ({"timing": "sundial"}, "timing: unknown timing kind 'sundial'"),
    ],
)
def test_what_cannot_be_modelled_stays_with_a_reason(table, cells, reason) -> None:
    (case,) = validate_gpu(table(row(**cells)))
    assert (case.got, case.error_frac) == (None, None)
    assert reason in str(case.reason)


def test_a_gpu_without_preset_stays_with_a_reason(table) -> None:
    (case,) = validate_gpu(table(row().replace("A100-SXM4-80GB", "Abacus 3000")))
    assert case.reason == "gpu: no preset for 'Abacus 3000'"


@pytest.mark.parametrize("preset", preset_names("gpu"))
def test_every_preset_is_found_however_its_name_is_spelt(preset: str) -> None:
    assert gpu_preset(preset.replace("-", "").upper()) == preset
    assert gpu_preset(preset.replace("-", " ").title()) == preset


def test_a_missing_column_is_one_line_that_names_it(table) -> None:
    folder = table(row(), head=HEAD.replace(",k", ",depth").replace("l2_warm", "warm"))
    with pytest.raises(InputError, match=r"gemm\.csv: missing columns l2_warm, k; it has: gpu,"):
        validate_gpu(folder)


@pytest.mark.parametrize("time", ["", "soon", "0", "-3"])
def test_a_row_without_a_time_is_named(table, time: str) -> None:
    with pytest.raises(InputError, match=r"gemm\.csv:3: time_us: expected microseconds"):
        validate_gpu(table(row(), row(us=time)))


@pytest.mark.parametrize("args", [["gpu", "--reference", "nowhere"]])
def test_bad_folders_exit_with_two_and_one_line(args: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ndpsim", "validate", *args], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no CSV tables in nowhere" in done.stderr


def test_a_folder_without_known_tables_is_bad_input(table) -> None:
    with pytest.raises(InputError, match="no table of GPU times"):
        validate_gpu(table(row(), name="weather.csv"))


def test_json_is_one_document_of_cases_and_summary(table) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ndpsim", "validate", "gpu", "--reference", table(row()), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert document.keys() == {"cases", "summary"}
    fields = {"set", "case", "op", "expected", "got", "error_frac", "reason"}
    assert fields <= document["cases"][0].keys()


def test_statistics_are_of_absolute_and_of_signed_errors(table) -> None:
    cases = validate_gpu(table(row(us=50.0), row(us=100.0), row(us=400.0)))
    errors = sorted(case.error_frac for case in cases)
    got = statistics_of(cases)
    assert got["n"] == 3
    assert got["bias"] == pytest.approx(errors[1], abs=1e-4)
    assert got["median_abs_error"] == pytest.approx(sorted(map(abs, errors))[1], abs=1e-4)
    assert statistics_of(())["median_abs_error"] is None


def test_the_noise_floor_compares_frameworks_on_equal_shapes_only(table) -> None:
    other = row(us=99.0, framework="b").replace("8192,8192", "8192,4096")
    cases = validate_gpu(table(row(us=80.0), row(us=100.0, framework="b"), other))
    (floor,) = noise_floor(cases)
    assert (floor["n"], floor["median_spread"]) == (1, 0.25)


routings = st.sampled_from(["balanced", "uniform", "power_law_1.01", "power_law_1.2"])


@given(routing=routings, n_tokens=st.integers(1, 300), shape=st.sampled_from([(8, 2), (128, 8)]))
def test_routed_pairs_are_all_served(routing: str, n_tokens: int, shape: tuple[int, int]) -> None:
    n_experts, top_k = shape
    loads = expert_loads(routing, n_tokens, n_experts, top_k)
    assert sum(loads) == n_tokens * top_k
    assert len(loads) <= n_experts
    assert max(loads) <= n_tokens


@given(routing=routings, n_tokens=st.integers(1, 300), ep=st.sampled_from([2, 4, 8]))
def test_a_rank_serves_its_own_experts_only(routing: str, n_tokens: int, ep: int) -> None:
    loads = expert_loads(routing, n_tokens, 128, 8, ep=ep)
    assert 1 <= len(loads) <= 128 // ep
    if routing.startswith("power_law"):
        assert sum(loads) >= n_tokens * 8 // ep  # the busiest rank


def test_forced_routing_hits_as_many_experts_as_stated() -> None:
    assert expert_loads("forced", 4, 128, 8, n_active=20) == (2,) * 12 + (1,) * 8


def test_a_router_that_chooses_groups_first_reaches_half_of_them() -> None:
    loads = expert_loads("balanced", 64, 256, 8, group_limited=True)
    assert sum(loads) == 64 * 8
    assert len(loads) == 128
    assert loads[0] > loads[4] == 2


def test_unknown_routing_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown 'roulette'"):
        expert_loads("roulette", 1, 8, 2)


@pytest.fixture(scope="module")
def measured():
    if not (SHARED / "gemm.csv").is_file():
        pytest.skip("no measured data: ../shared/reference/gpu is absent")
    return summarize(validate_gpu(str(SHARED)))


def test_measured_operators_meet_the_targets(measured) -> None:
    for target in measured["targets"]:
        assert target["n"] > 100, target
        assert target["median_abs_error"] <= target["target"], target
    assert measured["bias_target"] == BIAS_TARGET
    biases = {operator["op"]: operator["bias"] for operator in measured["operators"]}
    main = ("gemm", "gemv", "attention_decode", "attention_prefill", "moe_layer", "elementwise")
    assert all(abs(biases[op]) <= BIAS_TARGET for op in main), biases


def test_nine_tenths_of_the_measured_rows_are_modelled(measured) -> None:
    assert measured["modelled_frac"] >= 0.9
    assert all(gap["reason"] for gap in measured["not_modelled"])


def test_rows_held_out_of_every_fit_are_met_as_well(measured) -> None:
    held_out = {row["op"]: row for row in measured["held_out"] if row["rows"] == "held out"}
    limits = {"gemm": 0.15, "attention_decode": 0.20, "moe_layer": 0.25}
    for op, limit in limits.items():
        assert held_out[op]["n"] > 50
        assert held_out[op]["median_abs_error"] <= limit, held_out[op]


def test_gpus_nothing_was_fitted_to_are_met_as_well(measured) -> None:
    """A6000 carries the constants of A100 and RTX PRO 6000."""
    gemm = {g["gpu"]: g["median_abs_error"] for g in measured["gpus"] if g["set"] == "gemm"}
    assert gemm["A6000"] <= 0.15
