"""Parts for tests: shipped ones changed here and there, and random ones."""

from typing import Any

from hypothesis import strategies as st

from ndpsim.dram import DramSpec
from ndpsim.spec import load_preset


def ddr4(
    name: str = "ddr4-8gb-x8-3200aa",
    *,
    counts: dict[str, int] | None = None,
    timing: dict[str, int] | None = None,
    mapper: str | None = None,
    **controller: Any,
) -> DramSpec:
    """A shipped part with differences."""
    part = load_preset("dram", name, DramSpec)
    plain = part.model_dump(mode="json")
    plain["organisation"]["counts"] |= counts or {}
    plain["timing"] |= timing or {}
    plain["controller"] |= controller
    plain["mapper"] = mapper or part.mapper
    return DramSpec.model_validate(plain)


MAPPERS = ("RoBaRaCoCh", "ChRaBaRoCo", "MOP4CLXOR", "streaming", "ro ba co bg ra co:1")
SYMBOLS = [
    "nBL",
    "nCL",
    "nCWL",
    "nRCD",
    "nRP",
    "nRAS",
    "nRC",
    "nRTP",
    "nWR",
    "nCCD_S",
    "nCCD_L",
    "nRRD_S",
    "nRRD_L",
    "nFAW",
    "nWTR_S",
    "nWTR_L",
    "nCS",
]


@st.composite
def random_parts(draw: st.DrawFn) -> DramSpec:
    """Small organisations with unrelated timings, queues and refresh rates."""
    power = lambda top: st.integers(0, top).map(lambda bits: 1 << bits)  # noqa: E731
    counts = {
        "rank": draw(power(1)),
        "bankgroup": draw(power(2)),
        "bank": draw(st.sampled_from((2, 4))),
        "row": draw(st.sampled_from((4, 16))),
        "column": draw(st.sampled_from((16, 64))),
    }
    timing = {symbol: draw(st.integers(1, 24)) for symbol in SYMBOLS}
    timing |= {"nRFC": draw(st.integers(1, 80)), "nREFI": draw(st.integers(100, 700))}
    return ddr4(
        counts=counts,
        timing=timing,
        mapper=draw(st.sampled_from(MAPPERS)),
        refresh=draw(st.sampled_from(("all-bank", "none"))),
        read_queue=draw(st.integers(1, 12)),
        write_queue=draw(st.integers(1, 12)),
        write_high_frac=draw(st.sampled_from((0.5, 0.8, 1.0))),
        write_low_frac=draw(st.sampled_from((0.1, 0.2, 0.5))),
    )
