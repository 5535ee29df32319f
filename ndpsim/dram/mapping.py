"""From the number of a transaction to bank, row and column.

A mapping is a bit string: fields from the most significant bit to the least, ``ro ba bg ra co``; a
field may be cut, ``ro co ba bg ra co:2`` takes the two lowest column bits first. Fields are ``ro``,
``co`` and one per level between channel and row (``pc ra bg ba``, or the level's own name).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import nearest

MAPPERS: Final = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR", "streaming")
"""Named mappings; any other text is read as a bit string."""

SHORT: Final = {"ro": "row", "co": "column", "ba": "bank", "bg": "bankgroup", "ra": "rank"} | {
    "pc": "pseudochannel",
    "sid": "sid",
}
"""Short names of the fields in a bit string."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where one transaction lies. Objects are numbered within their parent."""

    bank: int
    """Flat index of the bank in the channel."""
    row: int
    column: int
    """In transactions of the row, not in columns of the device."""


@dataclass(frozen=True)
class AddressMapping:
    """A mapping fitted to an organisation."""

    fields: tuple[tuple[str, int], ...]
    """(field, bits), from the least significant bit of the transaction number upward."""
    widths: Mapping[str, int]
    """Field -> its bits in all."""
    banks: tuple[str, ...]
    """Levels whose numbers make up the flat bank index, from the top."""
    xor: tuple[str, ...]
    """Fields that are XORed in turn with the next bits of the column."""

    def locate(self, line: int) -> Location:
        """Bank, row and column of a transaction."""
        bank, row, column = self.locate_all(np.array([line], dtype=np.int64))
        return Location(int(bank[0]), int(row[0]), int(column[0]))

    def locate_all(
        self, lines: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Banks, rows and columns of transactions, each (n,) int64."""
        values = {name: np.zeros_like(lines) for name in self.widths}
        taken = dict.fromkeys(self.widths, 0)
        shift = 0
        for name, bits in self.fields:
            values[name] |= ((lines >> shift) & ((1 << bits) - 1)) << taken[name]
            taken[name] += bits
            shift += bits
        shift = 0
        for name in self.xor:
            bits = self.widths[name]
            values[name] ^= (values["column"] >> shift) & ((1 << bits) - 1)
            shift += bits
        bank = np.zeros_like(lines)
        for name in self.banks:
            bank = (bank << self.widths[name]) | values[name]
        return bank, values["row"], values["column"]

    @property
    def regular(self) -> tuple[int, int, int]:
        """(period, rows, run) of a sequential stream, counted from transaction 0.

        Within a run of that many transactions, ``line + period`` lies in the same bank and column
        as ``line``, that many rows further.
        """
        below = above = 0
        for name, bits in self.fields:
            if name == "row":
                above = bits
                break
            below += bits
        changed = self._row_bits_changed()
        return 1 << (below + changed), 1 << changed, 1 << (below + above)

    def _row_bits_changed(self) -> int:
        """Low row bits that the XOR with the column can change."""
        if "row" not in self.xor:
            return 0
        before = sum(self.widths[name] for name in self.xor[: self.xor.index("row")])
        return min(max(self.widths["column"] - before, 0), self.widths["row"])


def fit_mapping(text: str, sizes: Mapping[str, int]) -> AddressMapping:
    """The mapping that a name or bit string means for an organisation.

    Parameters
    ----------
    sizes
        How many of a level its parent holds, from below the channel down to the bank, then rows,
        then columns in transactions; powers of two.

    Raises
    ------
    ValueError
        An unknown name, or a bit string that does not fit.
    """
    widths = {name: size.bit_length() - 1 for name, size in sizes.items()}
    banks = tuple(name for name in sizes if name not in ("row", "column"))
    if text in MAPPERS:
        return _named(text, banks, widths)
    return AddressMapping(_parse(text, widths), widths, banks, ())


def _named(text: str, banks: tuple[str, ...], widths: dict[str, int]) -> AddressMapping:
    column, row = ("column", widths["column"]), ("row", widths["row"])
    top_down = [(name, widths[name]) for name in banks]
    xor: tuple[str, ...] = ()
    if text == "RoBaRaCoCh":
        fields = [column, *top_down, row]
    elif text == "ChRaBaRoCo":
        fields = [column, row, *reversed(top_down)]
    elif text == "MOP4CLXOR":
        low = min(2, column[1])
        fields = [("column", low), *top_down, ("column", column[1] - low), row]
        xor = (*banks, "row")
    else:
        # one burst after the other to where they do not wait for each other
        groups = [field for field in top_down if field[0] in ("pseudochannel", "bankgroup")]
        others = [field for field in reversed(top_down) if field not in groups]
        fields = [*groups, column, *others, row]
    return AddressMapping(tuple(fields), widths, banks, xor)


def _parse(text: str, widths: dict[str, int]) -> tuple[tuple[str, int], ...]:
    left = dict(widths)
    fields = []
    for token in reversed(text.split()):
        short, _, cut = token.partition(":")
        name = SHORT.get(short, short)
        if name not in widths:
            names = [*MAPPERS, *(key for key, level in SHORT.items() if level in widths)]
            raise ValueError(
                f"unknown mapper or field '{short}'; known: {', '.join(names)}"
                f"{nearest(short, names)}"
            )
        if cut and not cut.isdecimal():
            raise ValueError(f"'{token}': expected a number of bits after the colon")
        bits = int(cut) if cut else left[name]
        if bits > left[name]:
            raise ValueError(f"'{token}' asks for {bits} bits of {name}; {left[name]} are left")
        left[name] -= bits
        fields.append((name, bits))
    missing = [name for name, bits in left.items() if bits]
    if missing:
        raise ValueError(f"'{text}' leaves out {left[missing[0]]} bits of {missing[0]}")
    return tuple(fields)
