import pytest

from ndpsim.dram import Stream, base_addresses, peak_bytes_per_s, stream_marks
from ndpsim.errors import ConfigError
from ndpsim.memo import Memo
from tests.dram.parts import part

DDR5 = "ddr5-16gb-x8-4800an"
SIZES = (1 << 20,) * 4


def efficiency(placement: str, group: int) -> float:
    dram = part(DDR5, refresh="none")
    bases = base_addresses(dram, SIZES, placement)
    n_bytes = sum(SIZES)
    got = stream_marks(Memo(), dram, Stream(n_bytes, bases=bases, group=group))
    return n_bytes * 10**12 / got.duration_ps / peak_bytes_per_s(dram)


@pytest.mark.parametrize("group", [1, 4])
def test_skewed_matrices_are_read_faster_than_aligned_ones(group, jit):
    assert efficiency("skewed", group) > 1.5 * efficiency("aligned", group)
    assert efficiency("skewed", group) > 0.9


def test_matrices_do_not_overlap_and_lie_where_they_should():
    dram = part(DDR5)
    period = dram.mapping().regular[0] * dram.transaction_bytes
    bases = base_addresses(dram, (100, 1 << 20, 64, 5000))
    ends = [base + size for base, size in zip(bases, (100, 1 << 20, 64, 5000), strict=True)]
    assert all(end <= base for end, base in zip(ends, bases[1:], strict=False))
    row = 64 * dram.transaction_bytes
    assert [base % period // row for base in bases] == [0, 1, 2, 3]
    assert [base % period for base in base_addresses(dram, SIZES, "aligned")] == [0] * 4


@pytest.mark.parametrize("sizes", [(0,), (1 << 40,)])
def test_matrices_that_make_no_sense_or_do_not_fit_are_refused(sizes):
    with pytest.raises(ConfigError):
        base_addresses(part(DDR5), sizes)
