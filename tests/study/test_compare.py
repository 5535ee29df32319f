import json

import pytest

import ndpsim
from ndpsim.errors import InputError
from ndpsim.experiment.files import COMPARISON, FILES
from ndpsim.spec import preset_names
from ndpsim.study import save_comparison


def test_all_schedulers_run_on_a_machine_that_can_serve_them(tiny):
    comparison = ndpsim.compare(tiny)
    served = [run.summary["scheduler"] for run in comparison]
    left_out = {item.scheduler: item.reason for item in comparison.skipped}
    assert sorted([*served, *left_out]) == preset_names("scheduler")
    assert served == sorted(served)
    assert all("router weights" in reason for reason in left_out.values()), "synthetic: ids only"
    times = {run.summary["scheduler"]: run.summary["e2e_s"] for run in comparison}
    assert comparison.baseline == max(times, key=times.__getitem__)


def test_a_comparison_equals_the_runs_it_is_made_of(tiny):
    comparison = ndpsim.compare(tiny, ["tensor-parallel", "monde"], {"seed": 3})
    assert comparison.baseline == "tensor-parallel"
    alone = ndpsim.run(tiny, {"seed": 3, "scheduler": "monde"})
    assert comparison[1].summary == alone.summary
    assert len(comparison) == 2
    assert list(comparison.frame["config_hash"]) == [r.summary["config_hash"] for r in comparison]


def test_a_scheduler_named_twice_runs_once(tiny):
    assert len(ndpsim.compare(tiny, "monde, monde")) == 1


def test_overrides_apply_to_the_scheduler_compared(tiny):
    runs = ndpsim.compare(tiny, "edge-gpu-ndp", {"scheduler.cache": "lru"})
    assert runs[0].values["scheduler"]["cache"]["policy"] == "lru"


def test_all_leaves_out_what_cannot_be_served_and_says_why(tiny):
    comparison = ndpsim.compare(tiny, "all", ["system.ndp.unit.capacity=64 KiB"])
    served = {run.summary["scheduler"] for run in comparison}
    reasons = {item.scheduler: item.reason for item in comparison.skipped}
    assert "on-demand" in served
    assert sorted([*served, *reasons]) == preset_names("scheduler")
    assert "ndp0 has " in reasons["monde"]


def test_a_fault_of_the_configuration_itself_is_raised(tiny):
    with pytest.raises(InputError, match="did you mean 'edge'"):
        ndpsim.compare(tiny, "all", ["system=egde"])


@pytest.mark.parametrize("override", ["scheduler=monde", "scheduler.name=mine"])
def test_a_comparison_chooses_the_scheduler_itself(tiny, override):
    with pytest.raises(InputError, match="what a comparison varies"):
        ndpsim.compare(tiny, "prefetch,monde", [override])


def test_progress_names_the_scheduler(tiny):
    told = []
    ndpsim.compare(tiny, "monde,prefetch", progress=lambda *at: told.append(at))
    assert told[0] == ("monde", 1, 4)
    assert told[-1] == ("prefetch", 4, 4)


def test_a_comparison_is_written_and_replaced_as_a_whole(tiny, tmp_path):
    names = ["monde", "prefetch"]
    comparison = ndpsim.compare(tiny, names)
    for _ in range(2):
        folder = save_comparison(comparison, tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == [COMPARISON, *names]
    for run in comparison:
        inner = folder / run.summary["scheduler"]
        assert {path.name for path in inner.iterdir()} == FILES
        assert ndpsim.load_run(inner).summary == run.summary
    document = json.loads((folder / COMPARISON).read_text())
    assert document["summaries"] == [run.summary for run in comparison]
    assert (document["baseline"], document["skipped"]) == ("monde", {})
    (folder / "monde" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="other than results"):
        save_comparison(comparison, folder)
