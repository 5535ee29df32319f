"""The checkout at hand against another revision of it, measured on the same machine."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ndpsim
from ndpsim.errors import InputError, SimulationError

Figures = Mapping[str, tuple[float, str]]
"""Name -> value and unit."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both revisions; None where a revision does not measure it."""

    name: str
    unit: str
    value: float | None
    """Of the checkout at hand."""
    other: float | None

    @property
    def ratio(self) -> float | None:
        """The first over the second."""
        return self.value / self.other if self.value is not None and self.other else None


def compare_with(
    revision: str,
    root: Path | None = None,
    measure: Callable[[Path], Figures] | None = None,
) -> list[Difference]:
    """Every figure of this checkout and of a revision, each measured in processes of its own.

    Parameters
    ----------
    root
        The checkout; by default the one that this package lies in.
    measure
        What measures a checkout; by default its own `ndpsim bench --json`.

    Raises
    ------
    InputError
        This is no Git checkout, or it does not know the revision.
    """
    root = root or Path(ndpsim.__file__).resolve().parents[1]
    measure = measure or _bench
    with worktree(root, revision) as other:
        theirs = measure(other)
    ours = measure(root)
    return [
        Difference(
            name,
            (ours.get(name) or theirs[name])[1],
            ours[name][0] if name in ours else None,
            theirs[name][0] if name in theirs else None,
        )
        for name in dict.fromkeys([*ours, *theirs])
    ]


@contextmanager
def worktree(root: Path, revision: str) -> Iterator[Path]:
    """A revision checked out beside, until the end."""
    known = _git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    if known.returncode:
        if _git(root, "rev-parse", "--git-dir").returncode:
            raise InputError("--compare", f"{root} is not a Git checkout")
        raise InputError("--compare", f"unknown revision '{revision}'")
    with tempfile.TemporaryDirectory(prefix="ndpsim-bench-") as folder:
        place = Path(folder) / "checkout"
        made = _git(root, "worktree", "add", "--detach", str(place), known.stdout.split()[-1])
        if made.returncode:
            raise SimulationError("--compare", " ".join(made.stderr.split()))
        try:
            yield place
        finally:
            _git(root, "worktree", "remove", "--force", str(place))


def _git(root: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise InputError("--compare", "needs git") from None


def _bench(root: Path) -> Figures:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-m", "ndpsim", "bench", "--json"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        what = done.stderr.strip().splitlines() or ["bench failed"]
        raise SimulationError("--compare", f"{root.name}: {what[-1].removeprefix('error: ')}")
    return {row["name"]: (row["value"], row["unit"]) for row in json.loads(done.stdout)}
