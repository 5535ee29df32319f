import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.report.figures import digits, percent, quantity


@pytest.mark.parametrize(
    ("value", "n", "text"),
    [
        (0, 3, "0"),
        (0.012345, 3, "0.0123"),
        (9.999, 3, "10.0"),
        (999.6, 3, "1000"),
        (1234.5, 3, "1234"),
        (-2.5, 2, "-2.5"),
    ],
)
def test_digits_keep_what_is_significant(value, n, text):
    assert digits(value, n) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.0135, "s", "13.5 ms"),
        (0.99996, "s", "1.00 s"),
        (0.0009996, "s", "1.00 ms"),
        (15_781_330_944, "B", "15.8 GB"),
        (999, "B", "999 B"),
        (3e-15, "J", "3.00e-15 J"),
    ],
)
def test_a_quantity_takes_the_prefix_that_suits_it(value, unit, text):
    assert quantity(value, unit) == text


@given(st.floats(1e-12, 1e18))
def test_a_quantity_reads_back_within_its_digits(value):
    number, unit = quantity(value, "s", 4).split()
    powers = {"": 0, "m": -3, "u": -6, "n": -9, "p": -12, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15}
    scale = 10.0 ** (powers | {"E": 18})[unit.removesuffix("s")]
    assert float(number) * scale == pytest.approx(value, rel=6e-4)
    assert len(number) <= 5


@given(st.floats(0, 1))
def test_a_share_never_looks_like_nothing_when_it_is_something(frac):
    text = percent(frac)
    assert (text == "0 %") == (frac == 0)
    assert len(text) <= len("<0.1 %")
