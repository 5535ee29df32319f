"""`validate links`: copies, host memory and CPU experts against what others measured.

A copy is set-up, latency and bytes over one link; a rate without a size is that of a long copy. A
CPU expert is a product of one token with an expert's weights. No value depends on the row's result.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ndpsim import cpu
from ndpsim.errors import ConfigError
from ndpsim.link import effective_bytes_per_s, transfer_ps
from ndpsim.memo import Memo
from ndpsim.units import PS_PER_S
from ndpsim.validation.gpu import Case
from ndpsim.validation.hosts import find_cpu, find_link
from ndpsim.validation.overview import overview
from ndpsim.validation.reference import find_file, find_folder, read_table
from ndpsim.workload.operators import Format, Gemm

COLUMNS: Final = (
    "category", "gpu", "cpu", "host_memory", "link", "direction", "pinned", "size_bytes",
    "model", "expert_shape", "dtype", "time_us", "bandwidth_GBps", "kind", "notes",
)  # fmt: skip
STEM: Final = "pcie_cpu"
TARGET: Final = 0.08
"""Median absolute error aimed at for copies of `LARGE` bytes and more."""

LARGE: Final = 2**20
"""Copies of at least so many bytes are the headline."""

FORMATS: Final = {
    "bf16": Format("bf16", 16),
    "fp32": Format("fp32", 32),
    "fp16": Format("fp16", 16),
    "nvfp4": Format("nvfp4", 4, 16, 8),
    "mxfp4": Format("mxfp4", 4, 32, 8),
    "ds_fp4": Format("mxfp4", 4, 32, 8),
    "q4_k_m": Format("q4_k_m", 4, 32, 16),
    "int4 g64": Format("int4", 4, 64, 16),
}
"""Weights by the table's `dtype`; activations are bf16."""
WIDTH, DEPTH = 2048, 4096
"""Columns and rows of the product that stands for an expert whose shape is not told."""


def validate_links(reference: str | None = None) -> tuple[Case, ...]:
    """Every row of the table of links and hosts.

    Raises
    ------
    InputError
        No such table, or one without a needed column.
    """
    path = find_file(reference, f"{STEM}.csv")
    table = read_table(path, COLUMNS)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    memo = Memo()
    return tuple(_case(number, row, memo) for number, row in enumerate(rows, start=2))


def links_beside(reference: str | None = None) -> tuple[Case, ...]:
    """The rows of a table of links beside or above the tables of GPU times; none without it."""
    folder = find_folder(reference, "gpu")
    for place in (folder, folder.parent):
        if (place / f"{STEM}.csv").is_file():
            return validate_links(str(place))
    return ()


def _case(number: int, row: Mapping[Any, Any], memo: Memo) -> Case:
    got = reason = None
    is_copy = _kind(row).startswith("copy")
    in_us = is_copy and row["time_us"] is not None and row["size_bytes"] is not None
    measured = row["time_us"] if in_us else row["bandwidth_GBps"]
    try:
        got = _modelled(row, memo, in_us=in_us)
    except ConfigError as error:
        reason = str(error)
    if measured is None:
        got, reason = None, "no time and no rate in the row's columns"
    expected = float(measured if measured is not None else math.nan)
    what = [row[c] for c in ("gpu", "cpu", "link", "direction", "size_bytes", "dtype")]
    text = " ".join(str(part) for part in what if part is not None)
    return Case(
        set=STEM,
        case=f"line {number}: {row['category']} {text} ({'us' if in_us else 'GB/s'})",
        op=_kind(row),
        expected=expected if measured is not None else 0.0,
        got=got,
        error_frac=None if got is None else got / expected - 1,
        reason=reason,
        gpu=str(row["gpu"] or ""),
        dtype=str(row["dtype"] or ""),
        timing="time" if in_us else "rate",
        framework="",
        part=_part(row),
        shape=(),
    )


def _kind(row: Mapping[Any, Any]) -> str:
    if row["category"] in ("link_bw", "memcpy", "expert_transfer"):
        return "copy, pageable" if row["pinned"] == "no" else "copy, pinned"
    return str(row["category"])


def _part(row: Mapping[Any, Any]) -> str:
    """`headline`: copies of 1 MiB and more; the rest stands apart."""
    if not _kind(row).startswith("copy"):
        return "host"
    size = row["size_bytes"]
    return "headline" if size is None or size >= LARGE else "small"


def _modelled(row: Mapping[Any, Any], memo: Memo, *, in_us: bool) -> float:
    """Microseconds or GB/s, as measured."""
    if "measured" not in str(row["kind"]):
        raise ConfigError("kind", "a constant in someone's code, not a measurement")
    notes = str(row["notes"] or "")
    category = str(row["category"])
    if _kind(row).startswith("copy"):
        return _copy(row, notes, in_us=in_us)
    if category == "gpu_expert_compute":
        raise ConfigError("gpu", "a GPU operator: see 'validate gpu'")
    if "concurrently" in notes:
        raise ConfigError("cpu", "contention on a host that is not named; see the tests of flows")
    if "unoptimised" in notes or "single-thread" in notes:
        raise ConfigError("cpu", "one thread, or code without vector instructions")
    host = find_cpu(str(row["cpu"] or ""), notes)
    if category == "cpu_bw":
        return cpu.memory_bytes_per_s(host) / 1e9
    return _expert_gb_per_s(row, host, memo)


def _copy(row: Mapping[Any, Any], notes: str, *, in_us: bool) -> float:
    if "REMOTE" in notes:
        raise ConfigError("cpu", "memory of the remote NUMA node; no link describes the way there")
    if "concurrent" in f"{row['direction']} {notes}":
        raise ConfigError("link", "two copies at once share what no link preset states")
    link = find_link(str(row["link"] or ""), pinned=row["pinned"] != "no")
    back = str(row["direction"]).startswith("d2h")
    size = row["size_bytes"]
    if size is None:
        return effective_bytes_per_s(link, back=back) / 1e9
    took_ps = transfer_ps(link, int(size), back=back)
    return took_ps / 1e6 if in_us else float(size) * PS_PER_S / took_ps / 1e9


def _expert_gb_per_s(row: Mapping[Any, Any], host: cpu.CpuSpec, memo: Memo) -> float:
    dtype = str(row["dtype"])
    if dtype not in FORMATS:
        raise ConfigError("dtype", f"no format known for '{dtype}'")
    work = Gemm("expert", 1, WIDTH, DEPTH, FORMATS[dtype], FORMATS["bf16"])
    return work.weight_bytes / (memo(cpu.operator_ps, host, work) / PS_PER_S) / 1e9


def summarize_links(cases: Sequence[Case]) -> dict[str, Any]:
    """The summary of `validate links --json`."""
    targets = (("copies of 1 MiB and more", TARGET, lambda c: c.part == "headline"),)
    return overview(cases, ("part", "op"), targets)
