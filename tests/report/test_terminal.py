import io
from dataclasses import replace

import pytest
from rich.console import Console

import ndpsim
from ndpsim.experiment import RunSpec
from ndpsim.report import comparison_view, run_view
from ndpsim.report.terminal import gpu_link_bytes, limits
from ndpsim.spec import resolve
from ndpsim.workload import SyntheticSpec, synthesize, write_trace


def text_of(view, width=80):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False).print(view)
    return file.getvalue()


def test_the_critical_path_is_told_by_kind_and_adds_up():
    shares = {
        "ndp0.ranks": 0.3,
        "ndp2.ranks": 0.34,
        "gpu": 0.25,
        "latency": 0.06,
        "pcie.down": 0.046,
        "cpu": 0.004,
    }
    assert limits({"critical_frac": shares}) == (
        "64 % NDP memory (ndp2.ranks, ndp0.ranks), 25 % GPU, 6.0 % link and command latency, "
        "4.6 % links (pcie.down), 0.4 % other"
    )


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_figure_is_cut_at_common_widths(tiny, width):
    comparison = ndpsim.compare(tiny)
    for view in (run_view(comparison[0]), comparison_view(comparison)):
        text = text_of(view, width)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width


def test_a_comparison_has_one_row_per_scheduler_fastest_first(tiny):
    comparison = ndpsim.compare(tiny)
    lines = text_of(comparison_view(comparison)).splitlines()
    times = {run.summary["scheduler"]: run.summary["e2e_s"] for run in comparison}
    rows = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in times]
    assert [name for name in rows if name in times][-len(times) :] == sorted(times, key=times.get)


def test_bars_are_drawn_with_letters_where_blocks_cannot_be(tiny):
    text = text_of(run_view(ndpsim.run(tiny), plain=True))
    assert text.isascii()


def test_traffic_of_the_gpu_counts_its_own_link_once(tiny):
    result = ndpsim.run(tiny)
    links = result.summary["link_bytes"]
    assert gpu_link_bytes(result) == links["pcie.up"] + links["pcie.down"]


def test_machines_are_named_by_their_presets(tiny):
    text = text_of(run_view(ndpsim.run(tiny, {"system.ndp.count": 2})))
    assert "edge: rtx-5080 GPU, i7-14700 host, 2 x hermes-dimm NDP" in text


def test_routing_that_no_model_chose_is_labelled(tiny, tmp_path):
    drawn = ndpsim.run(tiny)
    assert "SYNTHETIC (drawn, not what a model chose), for tiny" in text_of(run_view(drawn))
    model = resolve(RunSpec, tiny).spec.model_spec()
    trace = synthesize(model, SyntheticSpec(), n_sequences=1, n_tokens=19, seed=1)
    captured = replace(trace, info=replace(trace.info, model="small", synthetic=False))
    path = tmp_path / "trace.parquet"
    write_trace(path, captured)
    real = ndpsim.run(tiny, {"trace": str(path)})
    assert "captured from small" in text_of(run_view(real))
    extended = f"trace: {{path: {path}, extend: loop}}"
    tiny.write_text(tiny.read_text().replace("trace: {synthetic: {}}", extended))
    text = " ".join(text_of(run_view(ndpsim.run(tiny, {"workload.output_tokens": 8}))).split())
    assert "SYNTHETIC in part: small, what it lacks made up by trace.extend 'loop'" in text


def test_a_machine_without_units_is_shown_as_such(tiny):
    links = """[{name: pcie, link: pcie5-x16, ends: [host, gpu]},
        {name: memory, link: ddr5-5600-dual, ends: [host, memory]}]"""
    system = f"system: {{preset: edge, ndp: null, topology: {links}}}"
    tiny.write_text(tiny.read_text().replace("system: edge", system))
    text = text_of(run_view(ndpsim.run(tiny, {"scheduler": "on-demand"})))
    assert "i7-14700 host " in text
    assert "NDP imbalance   none computed" in text
    assert "memory 0.00293 of 192 GiB" in text
