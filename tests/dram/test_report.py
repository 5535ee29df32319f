import csv
import json

import pytest

from ndpsim.cli import main
from ndpsim.dram import generate, resolve
from ndpsim.dram.report import simulate_requests, timing_warnings
from ndpsim.dram.tracefile import read_requests
from ndpsim.errors import TraceError
from tests.dram.parts import part

DDR5 = "ddr5-16gb-x8-4800an"


def report(name, pattern, n_requests, **changes):
    dram = part(name, **changes)
    return simulate_requests(dram, generate(pattern, n_requests, resolve(dram)))


def test_bank_conflicts_are_limited_by_the_row_cycle():
    found = report(DDR5, "bankconf", 500, refresh="none")
    shares = {limit.what.split(":")[0]: limit.frac for limit in found.limits}
    assert shares["nRC"] > 0.95
    assert sum(shares.values()) == pytest.approx(1)


def test_random_reads_are_limited_by_four_activations(jit):
    found = report(DDR5, "rand", 3000, refresh="none")
    assert found.limits[0].what == "nFAW: 4 ACT per rank"
    assert found.limits[0].frac > 0.9


def test_interleaved_stream_is_limited_by_the_data_bus(jit):
    found = report("ddr4-3200-hermes", "seq", 3000, refresh="none")
    assert found.limits[0].what == "the data bus: nBL"
    assert found.document()["peak_frac"] > 0.98


def test_energy_is_by_command(jit):
    found = report(DDR5, "seq", 1000)
    energy = found.energy_fj
    assert energy["RD"] == 1000 * found.dram.energy["RD"]
    assert energy["standby"] == found.dram.standby_power * found.duration_ps // 1000


def test_contradictory_timings_are_told():
    assert timing_warnings(part(DDR5)) == ()
    assert timing_warnings(part(DDR5, timing={"nRC": 110})) == (
        "nRC (110) is less than nRAS + nRP (111)",
    )


def test_trace_formats_mean_the_same(tmp_path):
    device = resolve(part(DDR5))
    texts = ("R 64\nW 0x80\n", "0x40 R\n0x80 W\n", "0x40 READ 7\n\n0x80 WRITE 9 # last\n")
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.trace"
        file.write_text(text)
        assert read_requests(file, device).tolist() == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("R 64\nX 128\n", "a.trace:2: 'X 128': expected 'R address'"),
        ("R\n", "a.trace:1"),
        ("R 0xzz\n", "a.trace:1"),
        ("R -64\n", "a.trace:1"),
        ("R 8589934592\n", "a.trace:1: address 0x200000000 is beyond"),
        ("# nothing\n", "no requests"),
    ],
)
def test_trace_line_that_does_not_parse_is_named(tmp_path, text, what):
    file = tmp_path / "a.trace"
    file.write_text(text)
    with pytest.raises(TraceError) as caught:
        read_requests(file, resolve(part(DDR5)))
    assert what in str(caught.value)


def _command(capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        main(["dram", "run", *args])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def test_command_prints_one_document_and_writes_commands(tmp_path, capsys):
    file = tmp_path / "commands.csv"
    code, out, _ = _command(
        capsys, "--standard", "DDR5", "--pattern", "bankconf", "--size", "256 B", "--json",
        "--commands", str(file),
    )  # fmt: skip
    document = json.loads(out)
    assert code == 0
    assert (document["preset"], document["requests"]) == (DDR5, 4)
    assert document["cycles"] == 410
    with file.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["command"] for row in rows[:3]] == ["ACT", "RD", "PREpb"]
    assert len(rows) == sum(document["commands"].values())


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["--standard", "ddr5-16gb-x8-4800"], "did you mean 'ddr5-16gb-x8-4800an'"),
        (["--standard", "ddr5", "--pattern", "sequ"], "did you mean 'seq'"),
        (["--standard", "ddr5", "--pattern", "ms:4"], "expected ms:S:G:K"),
        (["--standard", "ddr5", "--size", "0 B"], "more than zero"),
        (["--standard", "ddr5", "--set", "controller.read_queue=0"], "greater than 0"),
        (["--standard", "ddr5", "--set", "mapper=ro ba co"], "leaves out"),
        (["--standard", "ddr5", "--trace", "nowhere"], "cannot be read"),
        (["--standard", "ddr5", "--trace", "a", "--pattern", "seq"], "exclude each other"),
    ],
)
def test_bad_input_is_one_line(capsys, args, what):
    code, out, err = _command(capsys, *args)
    assert (code, out) == (2, "")
    assert what in err
    assert err.count("\n") == 1
