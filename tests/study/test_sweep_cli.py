"""`ndpsim sweep`: what it prints, and one line for everything that cannot be used."""

import json
import sys

import pytest

from ndpsim.cli import main

GRID = "base: tiny.yaml\ngrid:\n  scheduler: [monde, edge-gpu-ndp]\n"


@pytest.fixture
def call(capsys, monkeypatch):
    monkeypatch.setattr("ndpsim.cli.sweeps.PATIENCE_S", 1e9)  # a busy machine shows no progress

    def called(*args):
        with pytest.raises(SystemExit) as end:
            main([str(arg) for arg in args])
        return (end.value.code, *capsys.readouterr())

    return called


@pytest.fixture
def sweep(call, tiny):
    """Runs a sweep of this text in this process."""

    def run(text, *args):
        path = tiny.with_name("s.yaml")
        path.write_text(text)
        return call("sweep", path, *args)

    return run


def test_it_shows_the_best_points_and_what_each_choice_does(sweep):
    code, out, err = sweep(GRID, "--jobs", 1)
    assert (code, err) == (0, "")
    for text in ("2 distinct of 2: 2 ok", "monde", "geo. mean", "2 points run"):
        assert text in out


def test_json_is_one_document_with_a_summary_per_point(sweep):
    code, out, err = sweep(GRID + "columns: {x: 2 * e2e_s}\n", "--jobs", 1, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["values"] for row in rows] == [
        {"scheduler": "monde"},
        {"scheduler": "edge-gpu-ndp"},
    ]
    assert rows[0]["columns"]["x"] == 2 * rows[0]["e2e_s"]
    assert sum(rows[0]["energy_j"].values()) > 0


def test_a_dry_run_counts_and_prices(sweep, tmp_path):
    code, out, _ = sweep(GRID, "--jobs", 1, "--dry-run", "--json", "-o", tmp_path / "out")
    found = json.loads(out)
    assert code == 0
    assert (found["n_points"], found["n_done"], found["n_workers"]) == (2, 0, 1)
    assert found["wall_s"] == 2 * found["point_s"] > 0
    assert not (tmp_path / "out").exists()
    assert "2 points" in sweep(GRID, "--jobs", 1, "--dry-run")[1]


def test_overrides_apply_to_every_point(sweep):
    rows = json.loads(sweep(GRID, "--jobs", 1, "--json", "--set", "seed=9")[1])
    assert {row["seed"] for row in rows} == {9}


SEARCH = "base: tiny.yaml\nsearch: {space: {seed: [1, 2]}, generations: 1, population: 2}\n"
RANDOM = "base: tiny.yaml\nrandom: {n: 2, space: {PATH: INTERVAL}}\n"


def drawn(path, interval):
    return RANDOM.replace("PATH", path).replace("INTERVAL", interval)


BAD = {
    "base: tiny.yaml\ngrid: {system.ndp.cuont: [1]}\n": "did you mean 'count'",
    "base: tiny.yaml\ngrid: {sistem.ndp: [1]}\n": "did you mean 'system'",
    "base: tiny.yaml\ngrid: {workload.batch: [1, 0]}\n": "workload.batch: must be greater than 0",
    "base: tiny.yaml\ngrid: {scheduler: [monde, mondee]}\n": "did you mean 'monde'",
    "base: tiny.yaml\ngrid: {system.topology.7.link: [pcie5-x16]}\n": "no element '7'",
    "base: tiny.yaml\ngrid: {seed: []}\n": "an empty list",
    "base: tiny.yaml\ngrid: {seed: 3}\n": "expected a list",
    "base: tiny.yaml\ngird: {seed: [3]}\n": "did you mean 'grid'",
    "base: tiny.yaml\nzip: {seed: [1, 2], workload.batch: [1]}\n": "lists of unequal length",
    "base: tiny.yaml\nzip: {seed: [1]}\ngrid: {seed: [2]}\n": "seed: varied twice",
    "base: tiny.yaml\n": "nothing varies",
    "base: no.yaml\ngrid: {seed: [1]}\n": "no such file",
    "grid: {seed: [1]}\n": "base: missing",
    GRID + "columns: {x: e2e + 1}\n": "did you mean 'e2e_s'",
    GRID + "columns: {x: open(1)}\n": "unknown function",
    GRID + "columns: {e2e_s: '1'}\n": "taken",
    GRID + "constraints: [e2e_s]\n": "not a constraint",
    SEARCH: "objectives",
    drawn("seed", "{low: 4, high: 1}"): "not below",
    drawn("system.ndp.count", "{low: 0, high: 3}"): "greater than 0",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_sweeps_are_one_line(sweep, text):
    code, out, err = sweep(text, "--jobs", 1)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert BAD[text] in err


@pytest.mark.parametrize("folder", ["", "tiny.yaml", "no/where", "."])
def test_folders_that_cannot_take_results_are_one_line(sweep, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    code, out, err = sweep(GRID, "--jobs", 1, "-o", folder)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_no_workers_and_no_sweep_are_one_line(sweep, call):
    assert sweep(GRID, "--jobs", 0)[0] == 2
    assert sweep(GRID, "--jobs", 2, "--cluster", "tcp://x")[0] == 2
    assert call("sweep", "no.yaml")[0] == 2


@pytest.mark.parametrize(
    ("module", "extra", "text", "args"),
    [
        ("distributed", "ndpsim[cluster]", GRID, ("--cluster", "tcp://127.0.0.1:1")),
        (
            "optuna",
            "ndpsim[sweep]",
            SEARCH + "objectives: {e2e_s: min}\n",
            ("--jobs", 1),
        ),
    ],
)
def test_a_missing_extra_is_one_line(sweep, monkeypatch, module, extra, text, args):
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = sweep(text, *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert extra in err


def test_failed_points_end_with_an_error(sweep, monkeypatch, tmp_path):
    from ndpsim.study.sweep import worker

    def breaks(*args, **options):
        raise RuntimeError("boom")

    monkeypatch.setattr(worker, "run_resolved", breaks)
    code, out, err = sweep(GRID, "--jobs", 1, "-o", tmp_path / "out")
    assert code == 1
    assert "2 of 2 points failed" in err
    assert "boom" in out
