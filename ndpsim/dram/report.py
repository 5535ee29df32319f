"""What a run of requests came to: bandwidth, rows, refreshes, what limited it, energy."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ndpsim.dram import kernel
from ndpsim.dram.device import Device, peak_bytes_per_s, resolve
from ndpsim.dram.kernel import Ints
from ndpsim.dram.limits import Limit, limits
from ndpsim.dram.reference import Issued, Run
from ndpsim.dram.spec import DramSpec
from ndpsim.units import PS_PER_S, ps_from_cycles

MAX_EXPLAINED: Final = 6000
"""Commands of which it is asked what limited them; a longer run repeats itself."""
FJ: Final = 1e-15
PER_REQUEST: Final = 6
"""Commands a request needs at most on average, refreshes and data-clock starts included."""


@dataclass(frozen=True)
class Report:
    """A run and what follows from it."""

    dram: DramSpec
    run: Run
    n_requests: int
    limits: tuple[Limit, ...]
    """Causes of its length by their share, of its first commands."""

    @property
    def duration_ps(self) -> int:
        """From the first tick to the last data."""
        return ps_from_cycles(self.run.cycles, resolve(self.dram).clock_hz)

    @property
    def n_bytes(self) -> int:
        """Bytes read and written."""
        return self.n_requests * self.dram.transaction_bytes

    @property
    def bytes_per_s(self) -> float:
        """Achieved bandwidth."""
        return self.n_bytes * PS_PER_S / self.duration_ps

    @property
    def energy_fj(self) -> Mapping[str, int]:
        """By command, and of standby."""
        spent = {
            name: self.dram.energy[name] * count
            for name, count in self.run.counts.items()
            if name in self.dram.energy
        }
        ranks = self.dram.organisation.counts.get("rank", 1)
        spent["standby"] = self.dram.standby_power * ranks * self.duration_ps // 1000
        return spent

    def document(self) -> dict[str, Any]:
        """As plain JSON."""
        peak = peak_bytes_per_s(self.dram)
        run = self.run
        return {
            "standard": self.dram.standard.family,
            "mapper": self.dram.mapper,
            "requests": self.n_requests,
            "bytes": self.n_bytes,
            "cycles": run.cycles,
            "duration_s": self.duration_ps / PS_PER_S,
            "bandwidth_bytes_per_s": self.bytes_per_s,
            "peak_bytes_per_s": peak,
            "peak_frac": self.bytes_per_s / peak,
            "row_hits": run.row_hits,
            "row_misses": run.row_misses,
            "row_conflicts": run.row_conflicts,
            "refreshes": self.refreshes,
            "commands": dict(run.counts),
            "limits": [{"what": limit.what, "frac": limit.frac} for limit in self.limits],
            "energy_j": {name: energy * FJ for name, energy in self.energy_fj.items()},
        }

    @property
    def refreshes(self) -> int:
        """Refreshes sent."""
        names = [c.name for c in self.dram.standard.commands if c.action == "refresh"]
        return sum(self.run.counts.get(name, 0) for name in names)


def simulate_requests(dram: DramSpec, requests: Ints, *, full_log: bool = False) -> Report:
    """Serve transactions (n, 2: line, whether it is a write) as fast as the queues take them.

    With `full_log` the run keeps every command, otherwise the first `MAX_EXPLAINED`.
    """
    n_log = PER_REQUEST * len(requests) + MAX_EXPLAINED if full_log else MAX_EXPLAINED
    run = kernel.run(dram, requests, max_log=n_log)
    return Report(dram, run, len(requests), limits(dram, run.log[:MAX_EXPLAINED]))


def timing_warnings(dram: DramSpec) -> tuple[str, ...]:
    """Timings that contradict each other, as some shipped tables have them."""
    cycles = dram.cycles()
    found = []
    if {"nRC", "nRAS", "nRP"} <= set(cycles) and cycles["nRC"] < cycles["nRAS"] + cycles["nRP"]:
        found.append(
            f"nRC ({cycles['nRC']}) is less than nRAS + nRP ({cycles['nRAS'] + cycles['nRP']})"
        )
    if {"nRRD_S", "nRRD_L"} <= set(cycles) and cycles["nRRD_L"] < cycles["nRRD_S"]:
        found.append(f"nRRD_L ({cycles['nRRD_L']}) is less than nRRD_S ({cycles['nRRD_S']})")
    return tuple(found)


def write_commands(path: Path, dram: DramSpec, log: tuple[Issued, ...]) -> None:
    """Commands as CSV: tick, command, place at each level, row and column."""
    device = resolve(dram)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["clock", "command", *device.objects[1:], "row", "column"])
        depth = {command.name: command.depth for command in device.commands}
        for issued in log:
            places = _places(device, issued.bank, depth[issued.command])
            row = ["", ""] if issued.row < 0 else [issued.row, issued.column]
            table.writerow([issued.tick, issued.command, *places, *row])


def _places(device: Device, bank: int, depth: int) -> list[int | str]:
    """The number of the object of each level within its parent, down to a depth."""
    path = device.paths[bank]
    return [
        path[level] % device.counts[level] if level <= depth else ""
        for level in range(1, len(path))
    ]
