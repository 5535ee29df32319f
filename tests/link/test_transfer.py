from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.link import LinkSpec, effective_bytes_per_s, setup_ps, transfer_ps
from ndpsim.spec import load_preset, preset_names
from ndpsim.units import ps_for

PCIE4 = load_preset("link", "pcie4-x16", LinkSpec)


def test_an_ideal_link_carries_its_nominal_bandwidth() -> None:
    paper = load_preset("link", "pcie5-x16-paper", LinkSpec)
    assert effective_bytes_per_s(paper) == 64_000_000_000
    assert paper.latency == paper.setup == 0


def test_pcie_pays_encoding_packets_and_flow_control() -> None:
    raw = 16 * 2_000_000_000
    expected = raw * 128 / 130 * 128 / 148 * 0.92
    assert effective_bytes_per_s(PCIE4) == pytest.approx(expected, abs=1)


@given(lanes=st.integers(1, 32), payload=st.integers(1, 4096))
def test_more_lanes_or_payload_never_carry_less(lanes: int, payload: int) -> None:
    link = PCIE4.model_copy(update={"lanes": lanes, "packet_payload": payload})
    wider = link.model_copy(update={"lanes": lanes + 1})
    longer = link.model_copy(update={"packet_payload": payload + 1})
    assert effective_bytes_per_s(wider) > effective_bytes_per_s(link)
    assert effective_bytes_per_s(longer) >= effective_bytes_per_s(link)


@pytest.mark.parametrize("name", preset_names("link"))
def test_a_preset_carries_less_than_its_wires(name: str) -> None:
    link = load_preset("link", name, LinkSpec)
    assert 0 < effective_bytes_per_s(link) <= link.lane_bandwidth * link.lanes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lanes": 0}, "greater than 0"),
        ({"lane_bandwidth": "0 GB/s"}, "more than zero"),
        ({"flow_control_frac": 1.0}, "below 1"),
        ({"encoding_bits": 131}, "must not exceed line_bits"),
    ],
)
def test_a_link_without_width_is_refused(change: dict[str, object], complaint: str) -> None:
    fields = PCIE4.model_dump(mode="json") | change
    with pytest.raises(ValueError, match=complaint):
        LinkSpec.model_validate(fields)


def test_a_transfer_is_setup_latency_and_bytes() -> None:
    rate = effective_bytes_per_s(PCIE4)
    expected = PCIE4.setup + PCIE4.latency + ps_for(2**20, rate)
    assert transfer_ps(PCIE4, 2**20) == expected
    assert transfer_ps(PCIE4, 2**20, back=True) < expected  # larger packets toward the host


@pytest.mark.parametrize("generation", [3, 4, 5])
def test_pageable_memory_is_no_faster_and_starts_later(generation: int) -> None:
    pinned = load_preset("link", f"pcie{generation}-x16", LinkSpec)
    pageable = load_preset("link", f"pcie{generation}-x16-pageable", LinkSpec)
    assert effective_bytes_per_s(pageable) <= effective_bytes_per_s(pinned)
    assert setup_ps(pageable) > setup_ps(pinned)


def test_generations_carry_more() -> None:
    for names in (
        [f"pcie{g}-x16" for g in (3, 4, 5, 6)],
        [f"nvlink{g}" for g in (1, 2, 3, 4, 5)],
        ["cxl2-x8", "cxl2-x16", "cxl3-x16"],
        ["ethernet-100g", "ethernet-400g"],
    ):
        rates = [effective_bytes_per_s(load_preset("link", name, LinkSpec)) for name in names]
        assert rates == sorted(rates)


@pytest.mark.parametrize("generation", [3, 4, 5])
def test_large_pinned_copies_agree_with_measurements(generation: int) -> None:
    """Local-node copies of 16 MiB to 1 GiB by a copy engine or a kernel; median per generation."""
    import pandas as pd

    path = Path(__file__).parents[3] / "shared" / "reference" / "pcie_cpu.csv"
    if not path.is_file():
        pytest.skip("no measured data: ../shared/reference/pcie_cpu.csv is absent")
    rows = pd.read_csv(path)
    large = rows["size_bytes"].isna() | rows["size_bytes"].between(2**24, 2**30)
    rows = rows[
        rows["category"].isin(["link_bw", "memcpy"])
        & (rows["link"] == f"PCIe{generation} x16")
        & (rows["direction"] == "h2d")
        & (rows["pinned"] == "yes")
        & ~rows["notes"].str.contains("REMOTE|SM \\(kernel\\) copy, not copy engine")
        & large
    ]
    measured = rows["bandwidth_GBps"].median()
    modelled = effective_bytes_per_s(load_preset("link", f"pcie{generation}-x16", LinkSpec)) / 1e9
    assert modelled == pytest.approx(measured, rel=0.10)
