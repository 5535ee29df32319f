import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.units import (
    PS_PER_S,
    UNITS,
    ceil_div,
    cycles_from_ps,
    format_quantity,
    parse_quantity,
    ps_for,
    ps_from_cycles,
)

dimensions = st.sampled_from(sorted(UNITS))
clocks = st.integers(1, 10**11)


@given(dimensions, st.integers(0, 2**63 - 1))
def test_parse_reads_back_what_format_writes(dimension, value):
    assert parse_quantity(format_quantity(value, dimension), dimension) == value


@given(dimensions, st.integers(1, 999), st.data())
def test_format_is_never_longer_than_the_base_unit(dimension, value, data):
    unit, scale = data.draw(st.sampled_from(sorted(UNITS[dimension].items())))
    exact = value * scale
    if exact.denominator == 1:
        base = next(u for u, s in UNITS[dimension].items() if s == 1)
        assert len(format_quantity(int(exact), dimension)) <= len(f"{int(exact)} {base}")
        assert parse_quantity(f"{value} {unit}", dimension) == exact


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("13.75 ns", "time", 13750),
        ("312.5ps", "time", None),
        ("1e3 ps", "time", 1000),
        ("32 MiB", "size", 32 * 2**20),
        ("32 MB", "size", 32 * 10**6),
        ("819.2 GB/s", "bandwidth", 819_200_000_000),
        ("16 Gb/s", "bandwidth", 2_000_000_000),
        ("1 b/s", "bandwidth", None),
        ("1.41 GHz", "frequency", 1_410_000_000),
        ("0.5 pJ/FLOP", "energy per FLOP", 500),
        ("3.9 pJ/bit", "energy per bit", 3900),
        ("7.5 kW", "power", 7_500_000_000),
        ("16", "size", None),
        ("16 KB", "size", None),
        ("1 ns", "size", None),
        ("1 ns 2", "time", None),
        ("1,5 ns", "time", None),
        ("1e999 s", "time", None),
        ("9" * 100 + " s", "time", None),
        ("9.3e18 B", "size", None),
        ("", "time", None),
    ],
)
def test_quantities_are_exact_or_refused(text, dimension, value):
    if value is not None:
        assert parse_quantity(text, dimension) == value
        return
    with pytest.raises(ValueError) as caught:
        parse_quantity(text, dimension)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_an_inexact_quantity_says_what_it_is_not():
    with pytest.raises(ValueError, match=r"'0.5 ps' is not a whole number of ps"):
        parse_quantity("0.5 ps", "time")


def test_bandwidth_is_written_in_bytes():
    assert format_quantity(125_000_000_000, "bandwidth") == "125 GB/s"


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**15))
def test_ceil_div_is_the_smallest_quotient_that_suffices(numerator, denominator):
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


@given(st.integers(0, 10**15), clocks)
def test_clock_edges_are_never_early_and_less_than_a_picosecond_late(n_cycles, frequency):
    edge = ps_from_cycles(n_cycles, frequency)
    assert 0 <= edge * frequency - n_cycles * PS_PER_S < frequency


@given(st.integers(0, 10**9), st.integers(1, PS_PER_S))
def test_cycles_survive_picoseconds(n_cycles, frequency):
    """Below 1 THz a cycle is at least a picosecond, so rounding up loses nothing."""
    back = cycles_from_ps(ps_from_cycles(n_cycles, frequency), frequency)
    assert n_cycles <= back <= n_cycles + 1
    if PS_PER_S % frequency == 0:
        assert back == n_cycles


@given(st.integers(0, 10**15), clocks)
def test_cycles_cover_a_duration(duration, frequency):
    cycles = cycles_from_ps(duration, frequency)
    assert ps_from_cycles(cycles, frequency) >= duration
    assert cycles == 0 or (cycles - 1) * PS_PER_S < duration * frequency


@given(st.integers(0, 2**62), st.integers(1, 10**15))
def test_moving_bytes_takes_at_least_bytes_over_rate(amount, rate):
    assert 0 <= ps_for(amount, rate) * rate - amount * PS_PER_S < rate
