"""The benchmark's own machinery; its figures are not a matter of right or wrong."""

import subprocess

import pytest

from ndpsim.bench import compare_with, measure, scaling
from ndpsim.cli import main
from ndpsim.errors import InputError
from ndpsim.study.sweep import executors


@pytest.fixture
def checkout(tmp_path):
    """A Git checkout of two revisions whose only file holds a figure."""
    root = tmp_path / "root"
    root.mkdir()

    def git(*args):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, "-C", root, *args], check=True, capture_output=True)

    git("init")
    for value in ("4", "3"):
        (root / "figure").write_text(value)
        git("add", "figure")
        git("commit", "-m", value)
    return root


def figures(root):
    value = float((root / "figure").read_text())
    return {"speed": (value, "1/s")} | ({"new": (1.0, "s")} if value == 3 else {})


def test_a_revision_is_measured_beside_and_leaves_nothing(checkout):
    rows = compare_with("HEAD~1", checkout, figures)
    assert [(r.name, r.value, r.other, r.ratio) for r in rows] == [
        ("speed", 3.0, 4.0, 0.75),
        ("new", 1.0, None, None),
    ]
    listed = subprocess.run(
        ["git", "-C", checkout, "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1


def test_unknown_revisions_and_places_are_refused(checkout, tmp_path):
    for revision in ("nonsense", "--help"):
        with pytest.raises(InputError, match="unknown revision"):
            compare_with(revision, checkout, figures)
    with pytest.raises(InputError, match="not a Git checkout"):
        compare_with("HEAD", tmp_path, figures)


def test_points_per_second_are_measured(monkeypatch, tiny):
    grid = {"scheduler": ["monde", "edge-gpu-ndp"], "seed": [1, 2]}
    monkeypatch.setattr(executors, "n_cores", lambda: 1)
    monkeypatch.setattr(measure, "SWEEP", {"base": str(tiny), "grid": grid})
    (found,) = measure._sweep()
    assert (found.name, found.unit) == ("sweep_points_per_s", "1/s")
    assert found.value > 0


def test_growth_of_a_square_is_two():
    assert scaling.Growth((2, 4, 8), (1.0, 4.0, 16.0)).exponent == pytest.approx(2)


def test_what_the_process_in_charge_spends_is_measured():
    seconds, n_bytes = scaling._driver(8)
    assert 0 < seconds < 1
    assert 1000 < n_bytes < 20_000


@pytest.mark.parametrize(
    "args",
    [("--compare", "nonsense"), ("--scaling", "no/where.md"), ("--compare", "a", "--scaling", "b")],
    ids=" ".join,
)
def test_what_cannot_be_measured_is_one_line(capsys, args):
    with pytest.raises(SystemExit) as end:
        main(["bench", *args])
    out, err = capsys.readouterr()
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
