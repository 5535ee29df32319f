"""What a trace tells a scheduler beyond ids: weights, predictions, other sequences, the future."""

import json

import numpy as np
import pytest

import ndpsim
from ndpsim.errors import TraceError
from ndpsim.experiment import RunSpec, routing_of
from ndpsim.experiment.routing import made_up_predictions
from ndpsim.policy import SchedulerSpec
from ndpsim.spec import load_preset, resolve
from ndpsim.testing.configs import tiny_config, with_room
from ndpsim.workload import Trace, TraceInfo, write_trace

N_TOKENS, N_LAYERS, N_EXPERTS, TOP_K = 17, 3, 8, 2


def trace(n_sequences=3, *, weights=True, predicted=True, seed=0):
    """Random routing of the tiny model; predictions name the truth, one layer ahead."""
    rng = np.random.default_rng(seed)
    n = n_sequences * N_TOKENS
    scores = rng.random((n, N_LAYERS, N_EXPERTS))
    experts = np.argsort(-scores, axis=-1)[..., :TOP_K].astype(np.int16)
    ahead = np.full_like(experts, -1)
    ahead[:, :-1] = experts[:, 1:]
    return Trace(
        TraceInfo("tiny", N_EXPERTS, TOP_K, tuple(range(N_LAYERS))),
        np.repeat(np.arange(n_sequences, dtype=np.uint32), N_TOKENS),
        np.tile(np.arange(N_TOKENS, dtype=np.uint32), n_sequences),
        np.zeros(n, dtype=np.uint8),
        experts,
        np.full(experts.shape, 0.5, dtype=np.float16) if weights else None,
        (ahead,) if predicted else (),
    )


@pytest.fixture
def config(tmp_path):
    """A run of the tiny model on a full trace; `bare` has ids only, of a single sequence."""
    write_trace(tmp_path / "full.parquet", trace())
    write_trace(tmp_path / "bare.parquet", trace(1, weights=False, predicted=False))

    def make(scheduler, file="full"):
        return tiny_config(scheduler=scheduler, trace=str(tmp_path / f"{file}.parquet"))

    return make


NEXT_GATE = {
    "partition": "host",
    "dispatch": "on-demand",
    "prefetch": "next-gate",
    "cache": "staged-lru",
}


@pytest.mark.parametrize(
    ("scheduler", "lack"),
    [
        ("cxl-ndp", "scheduler 'cxl-ndp' needs router weights"),
        ("fiddler", "scheduler 'fiddler' needs other sequences to calibrate on"),
        ("trimoe", "scheduler 'trimoe' needs other sequences to calibrate on"),
        (NEXT_GATE, r"scheduler 'custom' needs predictions \(column 'predicted_1'\)"),
    ],
)
def test_a_trace_that_lacks_what_a_scheduler_needs_is_refused(config, scheduler, lack):
    assert ndpsim.run(config(scheduler)).summary["exact"]
    with pytest.raises(TraceError, match=rf"bare\.parquet: {lack}.*; this trace has none$"):
        ndpsim.run(config(scheduler, "bare"))


def test_a_comparison_names_what_the_trace_cannot_serve(config):
    found = ndpsim.compare(config("edge-gpu-ndp", "bare"))
    skipped = {item.scheduler: item.reason for item in found.skipped}
    assert {"cxl-ndp", "fiddler", "trimoe"} <= set(skipped)
    assert "router weights" in skipped["cxl-ndp"]
    assert {"dynande", "dali", "mixtral-offloading", "oracle"} <= {
        run.summary["scheduler"] for run in found
    }


def test_the_door_says_it_in_one_line_and_exits_2(config, tmp_path, capsys):
    from ndpsim.cli import main

    path = tmp_path / "run.yaml"
    path.write_text(json.dumps(config("cxl-ndp", "bare")))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(path)])
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert "needs router weights (column 'weights')" in error


def routing(config, scheduler):
    spec = resolve(RunSpec, config).spec
    return routing_of(spec, spec.model_spec()), load_preset("scheduler", scheduler, SchedulerSpec)


def test_a_policy_sees_nothing_it_did_not_ask_for(config):
    found, plain = routing(config("edge-gpu-ndp"), "edge-gpu-ndp")
    known = found.knowledge(plain)
    assert (known.profile, known.weights, known.predicted, known.future) == (None,) * 4


def test_a_profile_counts_the_other_sequences_only(config):
    found, fiddler = routing(config("fiddler"), "fiddler")
    others = trace().experts[N_TOKENS:]
    counts = found.knowledge(fiddler).profile
    assert counts.sum() == others.size
    assert counts[1, 4] == (others[:, 1] == 4).sum()


def test_synthetic_routing_is_calibrated_on_further_requests_of_its_corpus():
    config = tiny_config(scheduler="fiddler")
    found, fiddler = routing(config, "fiddler")
    base, _ = routing(tiny_config(), "edge-gpu-ndp")
    assert np.array_equal(found.experts, base.experts)
    assert found.digest == base.digest
    assert found.knowledge(fiddler).profile.sum() == 4 * N_TOKENS * N_LAYERS * TOP_K


def test_the_future_is_the_routing_by_step(config):
    found, oracle = routing(config("oracle"), "oracle")
    future = found.knowledge(oracle).future
    assert [len(step) for step in future] == [12, 1, 1, 1, 1, 1]
    assert np.array_equal(np.concatenate(future), found.experts[0])


def test_predictions_stand_at_the_layer_they_are_about(config):
    spec = resolve(RunSpec, config(NEXT_GATE)).spec
    found = routing_of(spec, spec.model_spec())
    predicted = found.knowledge(spec.scheduler).predicted
    assert (predicted[:, :, 0] == -1).all()
    assert np.array_equal(predicted[:, :, 1:], found.experts[:, :, 1:])


@pytest.mark.parametrize("recall", [0.0, 0.3, 0.9, 1.0])
def test_made_up_predictions_have_the_recall_that_was_asked(recall):
    rng = np.random.default_rng(1)
    experts = np.argsort(rng.random((1, 400, 6, 32)), axis=-1)[..., :4].astype(np.int16)
    predicted = made_up_predictions(experts, 32, recall, seed=3)
    hit = (predicted[..., :, None] == experts[..., None, :]).any(axis=-1)
    assert hit.mean() == pytest.approx(recall, abs=0.02)
    ordered = np.sort(predicted, axis=-1)
    assert (ordered[..., 1:] != ordered[..., :-1]).all(), "no expert twice"
    assert np.array_equal(predicted, made_up_predictions(experts, 32, recall, seed=3))


def test_predictions_of_a_token_that_uses_every_expert_leave_gaps():
    experts = np.array([[[[0, 1]]]], dtype=np.int16)
    assert (made_up_predictions(experts, 2, 0.0, seed=0) == -1).all()


def test_what_a_token_does_not_choose_is_not_predicted():
    experts = np.array([[[[3, -1]]]], dtype=np.int16)
    assert made_up_predictions(experts, 8, 1.0, seed=0).tolist() == [[[[3, -1]]]]


def test_perfect_predictions_are_no_slower_than_none(config):
    """Nothing else waits for the copies, and those that come too late are taken over."""
    gate = {"policy": "next-gate", "charge_gate": False, "decision_per_expert": "0 ns"}
    base = with_room(config(NEXT_GATE | {"prefetch": gate}), 6)
    none = with_room(config(NEXT_GATE | {"prefetch": "none"}), 6)
    ahead, plain = ndpsim.run(base, check=True), ndpsim.run(none, check=True)
    assert ahead.summary["prefetched_experts"] > 0
    assert ahead.summary["e2e_s"] <= plain.summary["e2e_s"]


def test_predicting_costs_gpu_and_host_time(config):
    def time_of(**changes):
        return ndpsim.run(config(NEXT_GATE | {"prefetch": {"policy": "next-gate"} | changes}))

    full = time_of().summary
    no_gate = time_of(charge_gate=False).summary
    free = time_of(charge_gate=False, decision_per_expert="0 ns").summary
    busy = [run["utilization"]["gpu"] * run["e2e_s"] for run in (full, no_gate)]
    assert busy[0] > busy[1]
    assert no_gate["utilization"]["cpu"] > free["utilization"]["cpu"]


def test_preloaded_experts_are_there_from_the_first_token(config):
    result = ndpsim.run(config("fiddler"), check=True)
    assert result.summary["prefetched_experts"] == 0
    assert result.tokens["n_hit"].iloc[0] > 0
    cold = ndpsim.run(config("fiddler-cold"))
    assert cold.tokens["n_hit"].sum() == 0
