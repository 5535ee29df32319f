import json
import os

import numpy as np
import pandas as pd
import pytest

import ndpsim
from ndpsim.errors import InputError
from ndpsim.experiment.files import FILES, TABLES, check_target, save_run

HASH = b"ndpsim.config_hash"


@pytest.fixture
def result(tiny):
    return ndpsim.run(tiny)


def data_files(folder):
    """Contents of everything that must not depend on when, where and how fast."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "meta.json"}


def test_a_run_survives_its_files(result, tmp_path):
    folder = save_run(result, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == FILES
    loaded = ndpsim.load_run(folder)
    for name in ("summary", "values", "provenance", "assumed", "memo", "wall_s"):
        assert getattr(loaded, name) == getattr(result, name)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(result, name))
        assert getattr(loaded, name).attrs["config_hash"] == result.summary["config_hash"]


def test_the_same_run_writes_the_same_bytes(tiny, tmp_path):
    runs = [ndpsim.run(tiny), ndpsim.run(tiny), ndpsim.run(tiny, memo=False)]
    written = [
        data_files(save_run(run, tmp_path / f"run{index}")) for index, run in enumerate(runs)
    ]
    assert written[0] == written[1] == written[2]


def test_another_seed_writes_other_bytes(tiny, tmp_path):
    first = data_files(save_run(ndpsim.run(tiny), tmp_path / "a"))
    second = data_files(save_run(ndpsim.run(tiny, {"seed": 8}), tmp_path / "b"))
    assert first["summary.json"] != second["summary.json"]


def test_data_files_name_their_run_and_hold_plain_columns(result, tmp_path):
    import pyarrow.parquet as pq

    folder = save_run(result, tmp_path / "out")
    for name in TABLES:
        schema = pq.read_schema(folder / f"{name}.parquet")
        assert schema.metadata == {HASH: result.summary["config_hash"].encode()}
    run = json.loads((folder / "run.json").read_text())
    assert (run["config_hash"], run["seed"]) == (result.summary["config_hash"], 7)
    assert run["values"]["workload"]["prompt_tokens"] == 16
    assert run["provenance"]["workload.prompt_tokens"].startswith(str(tmp_path))
    assert set(run["assumed"]) <= set(run["provenance"])


def test_meta_holds_what_differs_between_machines(result, tmp_path):
    meta = json.loads((save_run(result, tmp_path / "out") / "meta.json").read_text())
    assert meta["wall_s"] == result.wall_s
    assert meta["memo"] == result.memo
    assert {"numpy", "simpy"} <= meta["versions"].keys()


def test_the_tables_add_up_to_the_summary(result):
    tokens, summary = result.tokens, result.summary
    assert tokens["emitted_ps"].iloc[-1] == tokens["duration_ps"].sum()
    assert tokens["emitted_ps"].iloc[-1] / 1e12 == pytest.approx(summary["e2e_s"])
    assert list(tokens["phase"]) == ["prefill", "decode", "decode", "decode"]
    pairs = tokens[["n_gpu", "n_near"]].sum(axis=1)
    assert list(pairs) == [16 * 2 * 2, *[2 * 2] * 3]


def test_an_earlier_result_is_replaced(result, tiny, tmp_path):
    save_run(ndpsim.run(tiny, {"seed": 1}), tmp_path / "out")
    save_run(result, tmp_path / "out")
    assert ndpsim.load_run(tmp_path / "out").summary["seed"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tiny.yaml"]


def test_an_empty_folder_and_a_link_to_results_are_filled(result, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for _ in range(2):
        save_run(result, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in (tmp_path / "empty").iterdir()} == FILES


@pytest.mark.parametrize("stray", ["notes.txt", ".hidden", "tasks"])
def test_a_result_with_something_of_the_users_is_not_replaced(result, tmp_path, stray):
    folder = save_run(result, tmp_path / "out")
    before = data_files(folder)
    (folder / stray).write_text("mine")
    with pytest.raises(InputError, match="other than results"):
        save_run(result, folder)
    (folder / stray).unlink()
    assert data_files(folder) == before


def test_a_failed_write_keeps_the_earlier_result(result, tmp_path, monkeypatch):
    folder = save_run(result, tmp_path / "out")
    before = data_files(folder)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ndpsim.experiment.files._write_table", full)
    with pytest.raises(InputError, match="cannot be written: no space left on device"):
        save_run(result, folder)
    assert data_files(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tiny.yaml"]


def test_checking_a_place_leaves_nothing_behind(tmp_path):
    check_target(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="permission denied"):
        check_target(tmp_path / "new")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_folder_is_refused_with_the_files_name(result, tmp_path, name):
    folder = save_run(result, tmp_path / "out")
    (folder / name).write_bytes((folder / name).read_bytes()[:20])
    with pytest.raises(InputError, match=name):
        ndpsim.load_run(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=name):
        ndpsim.load_run(folder)


def test_columns_are_read_as_integers(result, tmp_path):
    loaded = ndpsim.load_run(save_run(result, tmp_path / "out"))
    assert loaded.tables["tokens"]["duration_ps"].dtype == np.int64
    assert loaded.tables["tokens"]["phase"][0] == "prefill"
