import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.dram import DramSpec, Stream, peak_bytes_per_s, stream_marks
from ndpsim.dram.mapping import fit_mapping
from ndpsim.memo import Memo
from tests.dram.parts import ddr4, part, random_parts

MAPPERS = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR", "streaming", "ro ba co bg ra co:1")

SIZES = {"rank": 2, "bankgroup": 4, "bank": 2, "row": 8, "column": 16}


def _spread(text: str, n_lines: int) -> list[tuple[int, int, int]]:
    columns = fit_mapping(text, SIZES).locate_all(np.arange(n_lines, dtype=np.int64))
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("text", MAPPERS)
def test_every_place_is_used_exactly_once(text):
    n_lines = 2 * 4 * 2 * 8 * 16
    assert len(set(_spread(text, n_lines))) == n_lines


def test_fields_lie_where_the_names_say():
    assert _spread("RoBaRaCoCh", 17)[16] == (8, 0, 0)
    assert _spread("ChRaBaRoCo", 17)[16] == (0, 1, 0)
    assert _spread("ChRaBaRoCo", 129)[128] == (1, 0, 0)
    assert _spread("streaming", 5)[:5] == [(0, 0, 0), (2, 0, 0), (4, 0, 0), (6, 0, 0), (0, 0, 1)]


def test_named_mappings_are_bit_strings():
    assert _spread("RoBaRaCoCh", 2048) == _spread("ro ba bg ra co", 2048)
    assert _spread("ChRaBaRoCo", 2048) == _spread("ra bg ba ro co", 2048)
    assert _spread("streaming", 2048) == _spread("ro ra ba co bg", 2048)


def test_mop_mapping_moves_the_rank_and_bank_group_with_the_column():
    """Four bursts in a row of columns; the XOR then sends each to another rank or bank group."""
    places = _spread("MOP4CLXOR", 5)
    assert [column for _, _, column in places] == [0, 1, 2, 3, 0]
    for bank, _, column in places[:4]:
        assert bank == (column & 1) << 3 | column >> 1 << 1


@given(random_parts(), st.data())
def test_stream_is_regular_within_its_run(part: DramSpec, data: st.DataObject):
    mapping = part.mapping()
    period, rows, run = mapping.regular
    line = data.draw(st.integers(0, run - 1))
    turns = data.draw(st.integers(0, (run - 1 - line) // period))
    near, far = mapping.locate(line), mapping.locate(line + turns * period)
    assert (far.bank, far.column, far.row) == (near.bank, near.column, near.row + turns * rows)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("RoBaRaCoChi", "did you mean 'RoBaRaCoCh'"),
        ("ro ba bg ra", "leaves out 4 bits of column"),
        ("ro ba bg ra co:5", "asks for 5 bits of column; 4 are left"),
        ("ro ba bg ra co:x", "expected a number of bits"),
        ("ro ba bg ra xx co", "unknown mapper or field 'xx'"),
    ],
)
def test_mapping_that_does_not_fit_is_refused(text, what):
    with pytest.raises(ValueError, match=what):
        fit_mapping(text, SIZES)


def test_mapping_is_checked_with_the_part():
    with pytest.raises(ValueError, match="mapper: 'co:8' asks for 8 bits of column"):
        ddr4(mapper="ro ba bg ra co:8")


@pytest.mark.parametrize("name", ["hbm2-8gb-2000mbps", "ddr5-16gb-x8-4800an"])
def test_streaming_mapper_fills_the_bus(name, jit):
    dram = part(name, mapper="streaming", refresh="none")
    n_bytes = 1 << 20
    got = stream_marks(Memo(), dram, Stream(n_bytes))
    assert n_bytes * 10**12 / got.duration_ps > 0.97 * peak_bytes_per_s(dram)
