"""Expressions compute, and do nothing else."""

import pytest

from ndpsim.errors import ConfigError
from ndpsim.study.sweep.expression import Expression, constraint

SCOPE = {"e2e_s": 2.0, "energy_j": {"gpu": 3.0, "ndp": 1.0}, "name": "a", "none": None, "n": 4}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sum(energy_j) / e2e_s", 2.0),
        ("energy_j.gpu + energy_j['ndp']", 4.0),
        ("max(n, 7) - min(energy_j)", 6.0),
        ('{"a": 10, "b": 20}[name] * n', 40),
        ("1 if e2e_s < 3 and not n == 5 else 0", 1),
        ("-n ** 2 // 3 % 5", 4.0),
        ("floor(log2(n)) + sqrt(n)", 4.0),
        ("1 < n <= 4", True),
        ("name", "a"),
    ],
)
def test_values(text, value):
    assert Expression("here", text).value(SCOPE) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "e2e_s.__class__",
        "(lambda: 1)()",
        "[x for x in energy_j]",
        "open('f')",
        "f'{n}'",
        "n := 3",
        "n << 40",
        "sum(*energy_j)",
        "max(n, key=n)",
        "{**energy_j}['gpu']",
        "energy_j[0:1]",
        "import os",
        "",
        "(" * 300 + "1" + ")" * 300,
        "1+" * 1500 + "1",
    ],
)
def test_everything_else_is_refused_before_it_is_computed(text):
    with pytest.raises(ConfigError, match=r"^here: "):
        Expression("here", text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 / 0", "division by zero"),
        ("10.0 ** 400", "range"),
        ("1e308 * 10", "not finite"),
        ("name * 3", "'a' is not a number"),
        ("none + 1", "missing"),
        ("energy_j.cpu", "no entry 'cpu' in gpu, ndp"),
        ("later", "unknown name 'later'"),
        ("energy_j", "is not a number"),
    ],
)
def test_what_has_no_value_says_why(text, why):
    with pytest.raises(ConfigError, match=why):
        Expression("here", text).value(SCOPE)


def test_a_constraint_is_missed_by_its_difference():
    assert constraint("here", "n <= 3").violation(SCOPE) == 1
    assert constraint("here", "n >= 3").violation(SCOPE) == -1
    for text in ("n", "n < 3", "1 <= n <= 3", "n == 3"):
        with pytest.raises(ConfigError, match="not a constraint"):
            constraint("here", text)
