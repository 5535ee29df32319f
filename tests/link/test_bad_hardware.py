"""Machines that cannot be: one line on stderr, exit 2."""

import pytest

from ndpsim.cli import main

CASES = {
    "a host memory nothing reaches": (
        "system.topology=[{name: pcie, link: pcie5-x16, ends: [host, gpu]},"
        "{name: channel, link: ddr4-3200-channel, ends: [host, ndp]}]",
        "topology: no path from 'gpu' to 'memory'",
    ),
    "a link without lanes": (
        "system.topology=[{name: pcie, link: {preset: pcie5-x16, lanes: 0}, ends: [host, gpu]}]",
        "lanes",
    ),
    "a link without width": (
        "system.topology=[{name: pcie, link: {preset: pcie5-x16, lane_bandwidth: 0 Gb/s},"
        " ends: [host, gpu]}]",
        "more than zero",
    ),
    "an end that is no device": (
        "system.topology=[{name: pcie, link: pcie5-x16, ends: [host, gpuu]}]",
        "no device 'gpuu'",
    ),
    "activations the GPU cannot multiply": (
        "formats.activation=mxfp4",
        "no rate for format 'mxfp4'",
    ),
    "weights the units cannot multiply": (
        "formats.expert={name: fp7, bits: 7}",
        "no MAC rate for format 'fp7'",
    ),
    "a level the memory lacks": (
        "system.ndp.unit={preset: hermes-dimm, level: bnak}",
        "level 'bnak' is none of",
    ),
    "a NUMA policy nobody knows": (
        "system.cpu={preset: i7-14700, numa: scattered}",
        "numa",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_exit_2(case, tiny, capsys) -> None:
    override, words = CASES[case]
    with pytest.raises(SystemExit) as done:
        main(["run", str(tiny), "--set", override])
    told = capsys.readouterr().err.strip()
    assert done.value.code == 2, told
    assert told.startswith("error: ")
    assert "\n" not in told
    assert words in told
