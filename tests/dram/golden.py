"""The reference figures beside the project: their folder, request patterns and parts."""

import csv
from pathlib import Path

from ndpsim.dram.device import resolve
from ndpsim.dram.spec import DramSpec
from ndpsim.spec import load_preset

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "reference" / "dram"
REASON = "no reference figures beside the project (../shared/reference/dram)"
PRESETS = {"DDR4_2400R": "ddr4-8gb-x8-2400r", "DDR4_3200AA": "ddr4-8gb-x8-3200aa"}


def rows(name: str) -> list[dict[str, str]]:
    """The DDR4 rows of a table that our controller's rules cover; none without the folder."""
    if not FOLDER.is_dir():
        return []
    with (FOLDER / name).open(newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if row.get("standard") == "DDR4" and row.get("scheduler", "FRFCFS") == "FRFCFS"
        ]


def part(row: dict[str, str]) -> DramSpec:
    """The part, mapper and controller settings of a row."""
    dram = load_preset("dram", PRESETS[row["timing_preset"]], DramSpec)
    refresh = "none" if row["refresh"] == "NoRefresh" else "all-bank"
    settings = {"refresh": refresh}
    if row.get("read_q"):
        settings |= {"read_queue": int(row["read_q"]), "write_queue": int(row["write_q"])}
    counts = dram.organisation.counts | {"rank": int(row.get("ranks") or 1)}
    return dram.model_copy(
        update={
            "mapper": row["mapper"],
            "controller": dram.controller.model_copy(update=settings),
            "organisation": dram.organisation.model_copy(update={"counts": counts}),
        }
    )


def pattern(name: str, seed: str | None, n_requests: int, dram: DramSpec) -> list[tuple[int, bool]]:
    """Transactions (line, is_write) of a named pattern, as the reference's README defines them."""
    device = resolve(dram)
    per_row, n_banks, rows_, cap = (
        device.lines_per_row,
        device.n_banks,
        device.rows,
        device.capacity_lines,
    )
    kind, *numbers = name.split(":")
    args = [int(number) for number in numbers]
    index = range(n_requests)
    if kind in ("rand", "randw", "randr2w1"):
        x = int(seed or 1)
        lines = []
        for _ in index:
            x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
            lines.append((x >> 33) % cap)
    elif kind == "bankconf":
        lines = [(i % rows_) * per_row * n_banks for i in index]
    elif kind == "rowstride":
        lines = [i * per_row % cap for i in index]
    elif kind == "stride":
        lines = [i * args[0] % cap for i in index]
    elif kind == "r2w1s":
        lines, reads, writes = [], 0, 0
        for i in index:
            if i % 3 == 2:
                lines.append(cap // 2 + writes)
                writes += 1
            else:
                lines.append(reads)
                reads += 1
    elif kind == "ms":
        n_streams, group, skew = args
        lines = []
        for i in index:
            g = i // group
            s = g % n_streams
            base = s * (cap // n_streams) + s * skew * per_row
            lines.append((base + (g // n_streams) * group + i % group) % cap)
    elif kind == "pingpong":
        lines = [(i % 2) * per_row * n_banks + i // 2 for i in index]
    else:
        assert kind in ("seq", "seqw", "r2w1")
        lines = [i % cap for i in index]
    if kind in ("seqw", "randw"):
        return [(line, True) for line in lines]
    mixed = kind in ("r2w1", "r2w1s", "randr2w1")
    return [(line, mixed and i % 3 == 2) for i, line in enumerate(lines)]
