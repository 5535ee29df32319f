"""Examples in docstrings of pure functions are true."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ndpsim"
WITH_EXAMPLES = sorted(
    path for path in PACKAGE.rglob("*.py") if "\n    >>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_hold(path: Path) -> None:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    results = doctest.testmod(import_module(name))
    assert results.attempted > 0
    assert results.failed == 0
