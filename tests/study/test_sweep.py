"""Sweeps: the same rows whatever runs them, nothing lost, nothing done twice."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

import ndpsim
from ndpsim.errors import InputError, SimulationError
from ndpsim.experiment import RunSpec
from ndpsim.spec import resolve
from ndpsim.study.sweep import driver, executors, load, run_plan, store
from ndpsim.study.sweep.plan import RESULTS
from ndpsim.study.sweep.worker import evaluate, failed

GRID = """\
base: tiny.yaml
about: a small one
set: {workload.output_tokens: 3}
grid:
  scheduler: [monde, edge-gpu-ndp]
  system.ndp.count: [2, 4]
  system.ndp.unit.capacity: [32 GiB, 64 KiB]
columns: {power_w: sum(energy_j) / e2e_s}
objectives: {e2e_s: min, power_w: min}
"""
SHIPPED = Path(__file__).parents[2] / "configs" / "sweeps"
FILES = ("results.parquet", "journal.jsonl", "sweep.json")


@pytest.fixture
def grid(tiny):
    """A sweep of eight points, half of which do not fit into memory."""
    return written(tiny, GRID)


def written(tiny, text):
    path = tiny.with_name("grid.yaml")
    path.write_text(text)
    return path


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_every_point_is_a_row_and_its_key_the_hash_of_the_run(grid, tiny):
    frame = ndpsim.sweep(grid, jobs=1)
    assert list(frame["point"]) == list(range(8))
    assert frame["config_hash"].is_unique
    assert list(frame["status"]) == ["ok", "infeasible"] * 4
    assert frame["error"][1].startswith("memory: ndp0 has ")
    assert frame["e2e_s"].isna().sum() == 4
    row = frame.iloc[6]
    alone = ndpsim.run(
        tiny,
        {"workload.output_tokens": 3, "scheduler": "edge-gpu-ndp", "system.ndp.count": 4},
    )
    for name in ("config_hash", "scheduler", "e2e_s", "bound_e2e_s"):
        assert row[name] == alone.summary[name]
    assert row["power_w"] == sum(alone.summary["energy_j"].values()) / alone.summary["e2e_s"]
    assert not {"wall_s", "memo"} & {name.partition(".")[0] for name in frame}


def test_each_point_is_a_file_that_runs_alone_with_the_same_summary(grid, tmp_path):
    ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)
    for row in store.read_rows(tmp_path / "out"):
        path = tmp_path / "out" / "points" / "000" / f"{row['point']:06d}.yaml"
        if row["status"] == "ok":
            assert ndpsim.run(path).summary == row["summary"]
        else:
            with pytest.raises(InputError) as error:
                ndpsim.run(path)
            assert str(error.value) == row["error"]
            text = (tmp_path / "out" / "errors" / "000" / f"{row['point']:06d}.txt").read_text()
            assert row["error"] in text
            assert f"points/000/{row['point']:06d}.yaml" in text


def test_processes_and_threads_give_the_bytes_of_one_process(grid, tmp_path):
    ndpsim.sweep(grid, output=tmp_path / "one", jobs=1)
    ndpsim.sweep(grid, output=tmp_path / "two", jobs=2)
    with ThreadPoolExecutor(3) as threads:
        ndpsim.sweep(grid, output=tmp_path / "threads", executor=threads)
        assert threads.submit(int).result() == 0  # it is left open
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert contents(tmp_path / "threads") == contents(tmp_path / "one")
    assert sorted(p.name for p in (tmp_path / "one").rglob("*") if p.is_file()) == sorted(
        p.name for p in (tmp_path / "two").rglob("*") if p.is_file()
    )


def test_loading_gives_the_frame_back(grid, tmp_path):
    frame = ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)
    pd.testing.assert_frame_equal(ndpsim.load_sweep(tmp_path / "out"), frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "results.parquet"), frame)


def test_a_sweep_that_is_done_runs_nothing_and_changes_nothing(grid, tmp_path):
    with driver.workers(jobs=1) as one:
        first = run_plan(load(grid), one, tmp_path / "out")
        before = contents(tmp_path / "out")
        second = run_plan(load(grid), one, tmp_path / "out")
    assert (first.n_run, second.n_run) == (8, 0)
    assert contents(tmp_path / "out") == before


def test_a_killed_sweep_goes_on_where_it_was(grid, tmp_path):
    ndpsim.sweep(grid, output=tmp_path / "whole", jobs=1)
    slow = (
        "import sys, time, ndpsim\n"
        "ndpsim.sweep(sys.argv[1], output=sys.argv[2], jobs=1, progress=lambda p: time.sleep(0.2))"
    )
    folder = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", slow, str(grid), str(folder)])
    journal = folder / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = journal.read_bytes().count(b"\n")
    assert 3 <= kept < 8
    assert len(ndpsim.load_sweep(folder)) == kept
    with journal.open("ab") as file:
        file.write(b'{"point":7,"config_ha')  # as a kill in the middle of a line leaves it
    with driver.workers(jobs=1) as one:
        assert run_plan(load(grid), one, folder).n_run == 8 - kept
    assert contents(folder) == contents(tmp_path / "whole")


def test_workers_end_with_a_parent_that_is_killed(grid, tmp_path):
    code = (
        "import sys, os, ndpsim\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from ndpsim.study.sweep.executors import _pool\n"
        "if __name__ == '__main__':\n"
        "    pool = _pool(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    child = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        worker = int(child.stdout.readline())
        child.kill()
    deadline = time.monotonic() + 20
    while is_alive(worker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - not every system has it
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def test_another_sweep_in_the_same_folder_is_refused(grid, tmp_path):
    ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)
    grid.write_text(GRID.replace("[2, 4]", "[2, 5]"))
    with pytest.raises(InputError, match="holds another sweep"):
        ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)


def test_a_changed_trace_is_another_sweep(grid, tiny, tmp_path):
    tiny.write_text(tiny.read_text().replace("synthetic: {}", "synthetic: {reuse_frac: 0.4}"))
    first = load(grid).header["identity"]
    tiny.write_text(tiny.read_text().replace("0.4", "0.5"))
    assert load(grid).header["identity"] != first


def test_two_processes_cannot_write_one_sweep(grid, tmp_path):
    pytest.importorskip("fcntl")
    plan = load(grid)
    with (
        store.opened(tmp_path / "out", plan.header),
        pytest.raises(InputError, match="another process"),
        store.opened(tmp_path / "out", plan.header),
    ):
        pass


def test_equal_points_run_once_and_are_one_row(tiny):
    text = """\
base: tiny.yaml
list:
  - {scheduler: monde}
  - {scheduler: monde}
  - {scheduler: monde, system.ndp.unit.capacity: 34359738368 B}
  - {scheduler: edge-gpu-ndp}
"""
    with driver.workers(jobs=1) as one:
        outcome = run_plan(load(written(tiny, text)), one)
    assert list(outcome.frame["point"]) == [0, 3]
    assert outcome.n_run == 3  # the third is known to be equal once it is resolved


def test_points_that_broke_off_are_tried_again(grid, tmp_path, monkeypatch):
    def breaks(task):
        row = evaluate(task)
        if task.index == 2:
            return failed(2, task.document, "internal: boom") | {"trace": "Traceback: boom"}
        return row

    monkeypatch.setattr(driver, "evaluate", breaks)
    frame = ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)
    assert frame["status"].value_counts()["failed"] == 1
    assert "boom" in (tmp_path / "out" / "errors" / "000" / "000002.txt").read_text()
    monkeypatch.undo()
    again = ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)
    assert again["status"][2] == "ok"
    assert not (tmp_path / "out" / "errors" / "000" / "000002.txt").exists()
    ndpsim.sweep(grid, output=tmp_path / "whole", jobs=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


class Mortal(Executor):
    """Its workers die of one point."""

    def __init__(self, deadly):
        self.deadly, self.dead = deadly, False

    def submit(self, fn, task):
        if self.dead:
            raise BrokenExecutor
        future = Future()
        if task.index in self.deadly:
            self.dead = True
            future.set_exception(BrokenExecutor())
        else:
            future.set_result(fn(task))
        return future


def test_a_point_that_kills_its_worker_is_a_row_and_takes_no_other_along(grid):
    found = executors.Workers(lambda: Mortal({3}), window=4, n_workers=4)
    frame = run_plan(load(grid), found).frame
    assert [row.point for row in frame.itertuples() if row.status == "failed"] == [3]
    assert "worker process died" in frame["error"][3]
    assert len(frame) == 8


def test_workers_that_all_die_end_the_sweep(grid):
    found = executors.Workers(lambda: Mortal(range(8)), window=2, n_workers=2)
    with pytest.raises(SimulationError, match="die one after the other"):
        run_plan(load(grid), found)


def test_a_search_depends_on_its_seed_alone(tiny, tmp_path):
    pytest.importorskip("optuna", reason="the extra 'sweep' is not installed")
    text = """\
base: tiny.yaml
search:
  generations: 3
  population: 4
  space:
    system.ndp.count: {low: 1, high: 6}
    system.ndp.unit.clock: {low: 500 MHz, high: 2000 MHz, step: 100 MHz}
    scheduler: [monde, edge-gpu-ndp]
columns: {power_w: sum(energy_j) / e2e_s}
objectives: {e2e_s: min, power_w: min}
constraints: ["system.ndp.count <= 4"]
"""
    path = written(tiny, text)
    frame = ndpsim.sweep(path, output=tmp_path / "one", jobs=1)
    with ThreadPoolExecutor(3) as threads:
        ndpsim.sweep(path, output=tmp_path / "three", executor=threads)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert list(frame["within"]) == [n <= 4 for n in frame["system.ndp.count"]]
    assert 0 < frame["pareto"].sum() <= frame["within"].sum()
    lines = (tmp_path / "three" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "three" / "journal.jsonl").write_bytes(b"".join(lines[:5]))
    ndpsim.sweep(path, output=tmp_path / "three", jobs=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_a_machine_that_lacks_a_link_is_a_row(tiny):
    text = """\
base: tiny.yaml
grid: {system.topology: [[{name: pcie, link: pcie5-x16, ends: [host, gpu]}]], seed: [1, 2]}
"""
    frame = ndpsim.sweep(written(tiny, text), jobs=1)
    assert set(frame["status"]) == {"infeasible"}


def test_progress_counts_and_estimates(grid):
    told = []
    ndpsim.sweep(grid, jobs=1, progress=told.append)
    assert [p.done for p in told] == list(range(1, 9))
    assert (told[-1].total, told[-1].infeasible, told[-1].failed) == (8, 4, 0)
    assert told[-1].points_per_s > 0
    assert told[-1].remaining_s == 0


def test_expressions_know_every_figure_of_a_run(tiny):
    assert set(RESULTS) <= ndpsim.run(tiny).summary.keys()


@pytest.mark.parametrize(
    "values",
    [
        {"system.ndp.count": 2},
        {"system.topology.0.link.lanes": 8},
        {"system.topology.1": {"name": "bus", "link": "ddr4-3200-dual", "ends": ["host", "ndp"]}},
        {"system": {"ndp": {"count": 3}}},
        {"system": {"preset": "edge-paper", "ndp": {"count": 3}}, "system.ndp.unit.ranks": 2},
        {"system.gpu": "rtx-4090", "system.gpu.memory_capacity": "20 GiB"},
        {"scheduler": "monde", "scheduler.cache": "lru"},
        {"scheduler.cache": {"policy": "lru"}, "scheduler.prefetch": "none"},
        {"formats.expert": "int4", "formats": {"weight": "int8"}},
        {"trace": {"synthetic": {"reuse_frac": 0.5}}, "seed": 3},
        {"trace.synthetic.reuse_frac": 0.25},
        {"model": "mixtral-8x7b", "model.n_layers": 2},
        {"system.ndp.unit.dram": "ddr5-16gb-x8-4800an", "workload.batch": 2},
    ],
    ids=lambda values: ",".join(values),
)  # fmt: skip
def test_a_point_means_what_set_means(tiny, values):
    plan = load({"base": str(tiny), "list": [values]})
    document = plan.document(values)
    text = plan.text(plan.task(0, values), values)
    path = tiny.with_name("point.yaml")
    path.write_text(text)
    wanted = resolve(RunSpec, tiny, values).values
    assert resolve(RunSpec, document).values == wanted
    assert resolve(RunSpec, path).values == wanted


@pytest.mark.slow
def test_a_cluster_gives_the_bytes_of_one_process(grid, tmp_path):
    pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    ndpsim.sweep(grid, output=tmp_path / "one", jobs=1)
    script = tmp_path / "cluster.py"
    script.write_text(
        "import sys, ndpsim\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True,\n"
        "                      host='127.0.0.1', dashboard_address=None) as cluster:\n"
        "        ndpsim.sweep(sys.argv[1], output=sys.argv[2],\n"
        "                     cluster=cluster.scheduler_address)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(grid), str(tmp_path / "dask")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "dask") == contents(tmp_path / "one")


def test_the_header_says_what_was_swept(grid, tmp_path):
    ndpsim.sweep(grid, output=tmp_path / "out", jobs=1)
    header = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert header["n_points"] == 8
    assert header["blocks"] == [2, 2, 2]
    assert header["paths"] == ["scheduler", "system.ndp.count", "system.ndp.unit.capacity"]


@pytest.mark.parametrize("name", ["dimms", "hardware", "pareto"])
def test_shipped_sweeps_can_be_used(name):
    plan = load(SHIPPED / f"{name}.yaml")
    assert plan.header["n_points"] == {"dimms": 140, "hardware": 108, "pareto": 192}[name]
