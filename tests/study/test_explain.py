import pytest

import ndpsim
from ndpsim.errors import InputError
from ndpsim.experiment.files import save_run
from ndpsim.report.explanation import sentences
from ndpsim.study.explain import explain


@pytest.fixture
def folder(tiny, tmp_path):
    return save_run(ndpsim.run(tiny), tmp_path / "run")


def test_phases_and_critical_times_add_up_to_the_run(folder):
    explanation = explain(folder)
    e2e_s = explanation.result.summary["e2e_s"]
    assert sum(p["total_s"] for p in explanation.phases.values()) == pytest.approx(e2e_s)
    for phase, times in explanation.critical_s.items():
        assert sum(times.values()) == pytest.approx(explanation.phases[phase]["total_s"])


def test_what_a_faster_part_buys_is_what_running_it_gives(folder):
    explanation = explain(folder)
    gains = {w.part: w for w in explanation.what_ifs}
    again = ndpsim.run(
        explanation.result.values, {"system.ndp.unit.dram.clock": "1.76 GHz"}
    ).summary["e2e_s"]
    assert gains["NDP memory (DRAM clock)"].e2e_s == again
    assert list(explanation.what_ifs) == sorted(
        explanation.what_ifs, key=lambda w: (-w.gain_frac, w.part)
    )


def test_words_name_both_phases_and_the_bound(folder):
    words = " ".join(sentences(explain(folder)))
    assert "prefill:" in words
    assert "decode:" in words
    assert "no less than" in words


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError):
        explain(tmp_path)
