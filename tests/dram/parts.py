"""Parts for tests: shipped ones changed here and there, and random ones."""

from typing import Any

from hypothesis import strategies as st

from ndpsim.dram import DramSpec
from ndpsim.spec import load_preset, preset_names

STANDARDS = {
    load_preset("dram", name, DramSpec).standard.family: name for name in preset_names("dram")
}
"""Family -> one of its parts."""


def part(
    name: str,
    *,
    counts: dict[str, int] | None = None,
    timing: dict[str, int] | None = None,
    mapper: str | None = None,
    **controller: Any,
) -> DramSpec:
    """A shipped part with differences."""
    plain = load_preset("dram", name, DramSpec).model_dump(mode="json")
    plain["organisation"]["counts"] |= counts or {}
    for symbol in timing or {}:
        plain["timing"].pop("t" + symbol[1:], None)
    plain["timing"] |= timing or {}
    plain["controller"] |= controller
    plain["mapper"] = mapper or plain["mapper"]
    return DramSpec.model_validate(plain)


def ddr4(name: str = "ddr4-8gb-x8-3200aa", **changes: Any) -> DramSpec:
    """A DDR4 part with differences."""
    return part(name, **changes)


MAPPERS = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR", "streaming", "ro ba co *")

LEAST_ROW_BYTES = 2
"""Transactions of a row of a random part."""


def power(least: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(least, most).map(lambda bits: 1 << bits)


@st.composite
def random_parts(draw: st.DrawFn, families: tuple[str, ...] = tuple(STANDARDS)) -> DramSpec:
    """Small organisations with unrelated timings, queues and refresh rates."""
    name = STANDARDS[draw(st.sampled_from(families))]
    shipped = load_preset("dram", name, DramSpec)
    levels = shipped.standard.levels[1:]
    counts = {level: draw(power(0, 2)) for level in levels[:-2]}
    counts |= {"bank": draw(power(1, 2)), "row": draw(st.sampled_from((4, 16)))}
    counts["column"] = shipped.organisation.burst_length * draw(power(1, 3))
    for level in ("rank", "pseudochannel", "sid"):
        if level in counts:
            counts[level] = draw(power(0, 1))
    timing = {
        symbol: draw(st.integers(1, 24))
        for symbol in sorted(shipped.standard.symbols())
        if not symbol.startswith(("nRFC", "nREFI"))
    }
    for symbol in sorted(shipped.standard.symbols()):
        if symbol.startswith("nRFC"):
            timing[symbol] = draw(st.integers(1, 80))
        elif symbol == "nREFI":
            timing[symbol] = draw(st.integers(100, 700))
    mapper = draw(st.sampled_from(MAPPERS))
    if mapper.endswith("*"):
        short = {"pseudochannel": "pc", "rank": "ra", "sid": "sid", "bankgroup": "bg"}
        mapper = " ".join(["ro ba co", *(short[level] for level in levels[:-3]), "co:1"])
    return part(
        name,
        counts=counts,
        timing=timing,
        mapper=mapper,
        refresh=draw(st.sampled_from(("all-bank", "none"))),
        scheduler=draw(st.sampled_from(("FRFCFS", "FRFCFSRowHit", "FCFS"))),
        row_policy=draw(st.sampled_from(("open", "open", "closed", "timeout"))),
        row_timeout=draw(st.sampled_from(("5 ns", "60 ns"))),
        postponed_refreshes=draw(st.integers(0, 2)),
        read_queue=draw(st.integers(1, 12)),
        write_queue=draw(st.integers(1, 12)),
        write_high_frac=draw(st.sampled_from((0.5, 0.8, 1.0))),
        write_low_frac=draw(st.sampled_from((0.1, 0.2, 0.5))),
    )
