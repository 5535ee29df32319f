"""Every bad input of a user: one line on stderr that says what is wrong, exit code 2, no output."""

import numpy as np
import pytest

from ndpsim.workload import Trace, TraceInfo, write_trace

N_LAYERS, N_EXPERTS, TOP_K = 2, 8, 2
"""Routing geometry of the tiny model."""


@pytest.fixture
def refused(ndpsim, tmp_path):
    """Calls a command that must be refused; its one line."""

    def call(*args):
        before = sorted(tmp_path.rglob("*"))
        answer = ndpsim(*args)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("error: ")
        assert answer.err.endswith("\n")
        assert answer.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before
        return answer.err

    return call


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def line_of(path, text):
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def trace_file(path, n_tokens=32, n_layers=N_LAYERS, n_experts=N_EXPERTS, top_k=TOP_K):
    experts = np.argsort(np.random.default_rng(0).random((n_tokens, n_layers, n_experts)), axis=-1)
    trace = Trace(
        TraceInfo("other", n_experts, top_k, tuple(range(n_layers))),
        np.zeros(n_tokens, np.uint32),
        np.arange(n_tokens, dtype=np.uint32),
        np.zeros(n_tokens, np.uint8),
        np.ascontiguousarray(experts[..., :top_k]).astype(np.int16),
    )
    write_trace(path, trace)
    return path


@pytest.fixture
def traced(tiny, tmp_path):
    """The tiny configuration on a trace file beside it."""
    trace_file(tmp_path / "trace.parquet")
    return edited(tiny, "trace: {synthetic: {}}", "trace: trace.parquet")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("top_k:", "topk:", ["model.topk", "unknown field", "did you mean 'top_k'"]),
        ("seed: 7", "sede: 7", ["sede", "did you mean 'seed'"]),
        ("system: edge", "system: {preset: edge, gpu_reserved: 3 ns}", ["gpu_reserved", "size"]),
        ("system: edge", "system: {preset: edge, gpu_reserved: 3}", ["bare number 3"]),
        ("d_model: 256", "d_model: 0", ["model.d_model", "greater than 0", "0"]),
        ("d_model: 256", "d_model: -256", ["model.d_model", "-256"]),
        ("prompt_tokens: 16", "prompt_tokens: 0", ["workload.prompt_tokens"]),
        ("output_tokens: 4", "output_tokens: 4.5", ["workload.output_tokens", "4.5"]),
        (
            "system: edge",
            "system: {preset: edge, gpu: {preset: rtx-5080, memory_capacity: 0 GiB}}",
            ["system.gpu.memory_capacity", "more than zero"],
        ),
        (
            "system: edge",
            "system: {preset: edge, gpu: {preset: rtx-5080, memory_capacity: -16 GiB}}",
            ["system.gpu.memory_capacity", "-16 GiB"],
        ),
        ("seed: 7", "seed: 7\nseed: 8", ["seed"]),
        ("system: edge", "system: egde", ["egde", "did you mean 'edge'"]),
        ("scheduler: edge-gpu-ndp", "scheduler: egde-gpu-ndp", ["did you mean 'edge-gpu-ndp'"]),
        ("scheduler: edge-gpu-ndp", "scheduler: [a, b]", ["scheduler"]),
        ("seed: 7", "seed: [", ["tiny.yaml"]),
        ("trace: {synthetic: {}}", "trace: {pth: x}", ["trace.pth", "did you mean 'path'"]),
        ("trace: {synthetic: {}}", "trace: {}", ["trace: give either 'path' or 'synthetic'"]),
        ("trace: {synthetic: {}}", "trace: 3", ["trace: expected a path"]),
    ],
)
def test_a_wrong_value_is_named_with_file_and_line(refused, tiny, old, new, expected):
    line = refused("run", edited(tiny, old, new))
    for text in (f"{tiny}:", *expected):
        assert text in line


def test_the_line_of_a_fault_is_the_line_it_is_written_on(refused, tiny):
    edited(tiny, "top_k:", "topk:")
    assert f"{tiny}:{line_of(tiny, 'topk')}: model.topk: " in refused("run", tiny)


@pytest.mark.parametrize("content", [b"", b"\n# nothing\n", b"\x00\xff\xfe\x80", b"\x93PAR1\x00"])
def test_an_empty_or_binary_file_is_no_configuration(refused, tmp_path, content):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert str(path) in refused("run", path)


def test_a_missing_file_or_a_directory_is_no_configuration(refused, tmp_path):
    assert "no such file" in refused("run", tmp_path / "none.yaml")
    assert "directory" in refused("run", tmp_path)


def test_a_missing_trace_is_named(refused, traced, tmp_path):
    (tmp_path / "trace.parquet").unlink()
    line = refused("run", traced)
    assert "trace.parquet" in line
    assert "no such file" in line


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_truncated_trace_is_refused(refused, traced, tmp_path, keep):
    path = tmp_path / "trace.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    assert "trace.parquet" in refused("run", traced)
    assert "trace.parquet" in refused("trace", "stats", path)


@pytest.mark.parametrize("geometry", [{"n_layers": 3}, {"n_experts": 16}, {"top_k": 4}])
def test_a_trace_of_another_geometry_names_both_sides(refused, traced, tmp_path, geometry):
    trace_file(tmp_path / "trace.parquet", **geometry)
    line = refused("run", traced)
    assert "2 MoE layers (0 to 1), 8 experts, top-2" in line
    other = {"n_layers": "3 MoE layers", "n_experts": "16 experts", "top_k": "top-4"}
    assert other[next(iter(geometry))] in line


def test_an_expert_id_out_of_range_is_named(refused, traced, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "trace.parquet"
    table = pq.read_table(path)
    ids = np.array(table.column("experts").to_pylist(), np.int16)
    ids[5, 1] = N_EXPERTS
    field = table.schema.field("experts")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), type=field.type)
    at = table.schema.get_field_index("experts")
    pq.write_table(table.set_column(at, field, lists), path)
    line = refused("run", traced)
    assert f"expert id {N_EXPERTS} is outside 0 to {N_EXPERTS - 1}" in line


def test_too_few_positions_say_how_many_are_needed(refused, traced, tmp_path):
    trace_file(tmp_path / "trace.parquet", n_tokens=18)
    line = refused("run", traced)
    assert "positions 0 to 18" in line
    assert "18" in line
    assert "extend: loop or synth" in line


def test_a_batch_needs_as_many_sequences(refused, traced):
    assert "2 sequences" in refused("run", traced, "--set", "workload.batch=2")


@pytest.mark.parametrize(
    ("override", "device"),
    [
        ("system.gpu.memory_capacity=256 MiB", "GPU"),
        ("system.ndp.unit.capacity=64 KiB", "ndp0"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(refused, tiny, override, device):
    line = refused("run", tiny, "--set", override)
    assert f"memory: {device} has " in line
    assert "needs" in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("seed=", "expected KEY=VALUE"),
        ("workload..batch=3", "dotted path"),
        ("workload.bach=3", "did you mean 'batch'"),
        ("workload.batch=many", "workload.batch"),
        ("seed=[1", "--set seed=[1"),
        ("scheduler=edge", "unknown scheduler"),
    ],
)
def test_a_malformed_override_is_named(refused, tiny, override, expected):
    line = refused("run", tiny, "--set", override)
    assert "--set" in line
    assert expected in line


def test_results_never_replace_what_is_not_results(refused, tiny, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    assert "other than results" in refused("run", tiny, "-o", mine)
    assert "other than results" in refused("compare", tiny, "--schedulers", "all", "-o", mine)
    assert "is a file" in refused("run", tiny, "-o", tiny)
    assert "is empty" in refused("run", tiny, "-o", "")
    assert "null" in refused("run", tiny, "-o", "a\0b")


@pytest.mark.parametrize("place", ["none/results", "tiny.yaml/results", "/proc/results"])
def test_an_unwritable_output_is_refused_before_simulating(
    refused, tiny, tmp_path, place, monkeypatch
):
    monkeypatch.setattr("ndpsim.experiment.run", lambda *_, **__: pytest.fail("simulated"))
    assert place.rpartition("/")[2] in refused("run", tiny, "-o", tmp_path / place)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("monde,mnode", "did you mean 'monde'"),
        ("", "unknown scheduler"),
        ("all,monde", "unknown scheduler 'all'"),
    ],
)
def test_comparing_an_unknown_scheduler_lists_the_known(refused, tiny, names, expected):
    line = refused("compare", tiny, "--schedulers", names)
    assert "edge-gpu-ndp" in line
    assert expected in line


def test_naming_a_scheduler_that_cannot_be_served_is_refused(refused, tiny):
    too_small = ("--set", "system.ndp.unit.capacity=64 KiB")
    line = refused("compare", tiny, "--schedulers", "on-demand,monde", *too_small)
    assert "under scheduler 'monde'" in line


@pytest.mark.parametrize(
    "args",
    [
        ["bogus"],
        ["run"],
        ["run", "a.yaml", "b.yaml"],
        ["run", "a.yaml", "--bogus"],
        ["run", "a.yaml", "--set"],
        ["compare", "a.yaml"],
        ["list"],
        ["list", "modle"],
        ["show", "model", "qwen"],
        ["show", "cache", "lruu"],
        ["trace", "stats"],
        ["trace", "bogus"],
    ],
)
def test_wrong_usage_is_one_line(refused, args):
    refused(*args)


def test_a_hostile_name_cannot_forge_lines_or_colours(refused, tmp_path):
    line = refused("run", tmp_path / "a\nerror: forged \x1b[31m.yaml")
    assert "\x1b" not in line
