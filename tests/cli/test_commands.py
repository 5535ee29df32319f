"""What commands print, and where."""

import json
import subprocess
import sys

import pytest

import ndpsim as package
from ndpsim.errors import InvariantError

SUMMARY = {
    "schema", "model", "scheduler", "config_hash", "seed", "ttft_s", "tpot_s", "e2e_s", "prefill_s",
    "decode_s", "moe_prefill_s", "moe_decode_s", "output_tokens_per_s", "bound_e2e_s",
    "utilization", "ndp_imbalance", "gpu_hit_frac", "link_bytes", "memory_bytes", "energy_j",
    "exact", "synthetic_trace",
}  # fmt: skip
"""Fields that others rely on."""


def process(*args, **options):
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ndpsim", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


def test_json_is_one_document_with_every_field(ndpsim, tiny):
    answer = ndpsim("run", tiny, "--json")
    document = json.loads(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert document.keys() >= SUMMARY | {"wall_s", "memo"}
    for table in ("utilization", "link_bytes", "memory_bytes", "energy_j"):
        assert all(isinstance(value, int | float) for value in document[table].values())
    assert (document["model"], document["seed"]) == ("tiny", 7)
    assert document["ttft_s"] == document["prefill_s"]
    assert document["e2e_s"] == pytest.approx(document["prefill_s"] + document["decode_s"])
    assert document["tpot_s"] == pytest.approx(document["decode_s"] / 3)


def test_one_output_token_has_no_tpot(ndpsim, tiny):
    answer = ndpsim("run", tiny, "--json", "--set", "workload.output_tokens=1")
    document = json.loads(answer.out)
    assert (document["tpot_s"], document["decode_s"], document["gpu_hit_frac"]) == (None, 0, None)
    assert "undefined" in ndpsim("run", tiny, "--set", "workload.output_tokens=1").out


def test_overrides_win_over_the_file(ndpsim, tiny):
    answer = ndpsim("run", tiny, "--json", "--set", "seed=3", "--set", "scheduler=monde")
    document = json.loads(answer.out)
    assert (document["seed"], document["scheduler"]) == (3, "monde")


def test_a_run_shows_its_figures_and_labels_synthetic_routing(ndpsim, tiny):
    answer = ndpsim("run", tiny, "--audit")
    assert (answer.code, answer.err) == (0, "")
    for text in ("SYNTHETIC", "TTFT", "TPOT", "tokens/s", "lower bound", "critical path", "ndp3"):
        assert text in answer.out
    assert "audit passed" in answer.out
    assert "\x1b" not in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_without_memory_nothing_but_wall_time_and_memo_differs(ndpsim, tiny):
    remembered, not_remembered = (
        json.loads(ndpsim("run", tiny, "--json", *option).out) for option in ([], ["--no-memo"])
    )
    for document in (remembered, not_remembered):
        del document["wall_s"], document["memo"]
    assert remembered == not_remembered


def test_a_comparison_is_a_list_of_summaries(ndpsim, tiny):
    answer = ndpsim("compare", tiny, "--schedulers", "monde,tensor-parallel", "--json")
    documents = json.loads(answer.out)
    assert [d["scheduler"] for d in documents] == ["monde", "tensor-parallel"]
    assert all(d.keys() >= SUMMARY for d in documents)


def test_a_comparison_of_all_names_what_it_leaves_out(ndpsim, tiny):
    small = ("--set", "system.ndp.unit.capacity=64 KiB")
    answer = ndpsim("compare", tiny, "--schedulers", "all", *small)
    assert answer.code == 0
    assert "skipped monde: memory: ndp0 has " in answer.err
    assert "on-demand" in answer.out
    assert "monde" not in answer.out


def test_a_comparison_says_what_its_speed_ups_refer_to(ndpsim, tiny):
    answer = ndpsim("compare", tiny, "--schedulers", "monde,tensor-parallel")
    assert "speed-up over monde" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("model", "qwen3-30b-a3b"),
        ("scheduler", "edge-gpu-ndp"),
        ("system", "edge"),
        ("dram/standard", "ddr4"),
        ("cache", "lru"),
        ("dispatch", "load-balance"),
    ],
)
def test_what_is_listed_can_be_shown(ndpsim, kind, name):
    assert name in ndpsim("list", kind).out
    rows = json.loads(ndpsim("list", kind, "--json").out)
    assert name in [row["name"] for row in rows]
    assert all(row["about"] for row in rows)
    for row in rows:
        answer = ndpsim("show", kind, row["name"])
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith(f"{kind}/{row['name']}: {row['about']}\n")


def test_a_scheduler_is_listed_with_its_devices(ndpsim):
    rows = {row["name"]: row for row in json.loads(ndpsim("list", "scheduler", "--json").out)}
    assert rows["edge-gpu-ndp"]["exact"] is True
    assert rows["edge-gpu-ndp"]["devices"] == ["gpu", "ndp"]
    assert rows["on-demand"]["devices"] == ["gpu", "host"]
    assert rows["gpu-only"]["devices"] == ["gpu"]


def test_a_shown_value_names_its_source(ndpsim):
    answer = ndpsim("show", "link", "pcie5-x16", "--json")
    values = {row["path"]: row for row in json.loads(answer.out)["values"]}
    assert values["lanes"]["value"] == "16"
    assert "PCI Express Base Specification" in values["lanes"]["source"]


def test_the_schema_names_the_fields_of_a_configuration(ndpsim):
    document = json.loads(ndpsim("schema").out)
    assert "$schema" in document
    assert {"model", "system", "scheduler", "trace"} <= set(json.dumps(document).split('"'))


def test_a_trace_is_described(ndpsim, tiny, tmp_path):
    from ndpsim.experiment import RunSpec
    from ndpsim.spec import resolve
    from ndpsim.workload import SyntheticSpec, synthesize, write_trace

    model = resolve(RunSpec, tiny).spec.model_spec()
    path = tmp_path / "trace.parquet"
    write_trace(path, synthesize(model, SyntheticSpec(), n_sequences=2, n_tokens=30, seed=1))
    document = json.loads(ndpsim("trace", "stats", path, "--json").out)
    assert (document["n_tokens"], document["synthetic"]) == (60, True)
    answer = ndpsim("trace", "stats", path)
    assert "60 tokens in 2 sequences" in answer.out
    assert "SYNTHETIC" in answer.out
    assert answer.out.splitlines()[-1].startswith(" mean")


def test_a_failed_simulation_exits_with_1(ndpsim, tiny, monkeypatch):
    def broken(*_, **__):
        raise InvariantError("layer 3", "12 pairs computed, 16 routed")

    monkeypatch.setattr("ndpsim.experiment.run", broken)
    answer = ndpsim("run", tiny)
    assert answer == (1, "", "error: layer 3: 12 pairs computed, 16 routed\n")


def test_a_traceback_is_shown_on_request_only(ndpsim, tmp_path):
    quiet, loud = (ndpsim("run", tmp_path, *option) for option in ([], ["--debug"]))
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert loud.err.endswith(quiet.err)
    assert loud.code == 2


def test_help_loads_nothing_heavy():
    heavy = ("numpy", "pydantic", "rich", "pandas", "numba", "networkx")
    code = (
        "import sys\nfrom ndpsim.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "compare" in done.stdout


def test_the_version_is_printed(ndpsim):
    assert ndpsim("--version") == (0, f"ndpsim {package.__version__}\n", "")


def test_importing_the_package_is_light():
    code = "import sys, ndpsim\nprint(sorted({'numpy', 'pydantic', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_public_names_exist():
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("command", ["schema", "show system edge"])
def test_a_reader_that_has_left_is_no_error(command):
    script = f"{sys.executable} -m ndpsim {command} | true; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == "141\n"


def test_exit_codes_reach_the_shell(tmp_path):
    done = process("run", tmp_path / "none.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("none.yaml: no such file\n")


def test_an_interrupt_leaves_no_files(ndpsim, tiny, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("ndpsim.experiment.files.write_json", interrupted)
    assert ndpsim("run", tiny, "-o", tmp_path / "results") == (130, "", "error: interrupted\n")
    assert sorted(tmp_path.iterdir()) == before


def test_every_figure_of_the_benchmark_has_a_name_and_a_unit(ndpsim, monkeypatch):
    from ndpsim.bench import measure

    monkeypatch.setattr(measure, "N_REQUESTS", 200)
    monkeypatch.setattr(measure, "N_TASKS", 20)
    monkeypatch.setattr(measure, "STREAM_BYTES", 1 << 16)
    monkeypatch.setattr(measure, "_run_edge", lambda config, environment: None)
    small = {"workload": {"prompt_tokens": 4, "output_tokens": 3}}
    monkeypatch.setattr(measure, "EDGE", measure.EDGE | small)
    rows = json.loads(ndpsim("bench", "--json").out)
    assert {
        "decode_ms_per_token", "run_edge_wall_s", "run_edge_cold_wall_s", "dram_seq_requests_per_s",
        "dram_rand_requests_per_s", "dram_stream_64MiB_cold_s", "dram_stream_64MiB_warm_s",
        "engine_tasks_per_s", "policy_us_per_situation",
    } <= {row["name"] for row in rows}  # fmt: skip
    assert all(row.keys() == {"name", "value", "unit"} for row in rows)
    assert ndpsim("bench").out.count("\n") == len(rows)
