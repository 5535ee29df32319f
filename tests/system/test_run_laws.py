"""Laws that every run obeys, on random small machines, models and schedulers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from ndpsim.experiment import run
from ndpsim.experiment.result import RunResult
from ndpsim.testing.configs import SCHEDULERS, tiny_config, tiny_runs
from ndpsim.workload import ModelSpec, SyntheticSpec, synthesize, write_trace


def integers(result: RunResult) -> dict[str, Any]:
    """All integers of a result, comparable."""
    return {
        table: {name: list(column) for name, column in columns.items()}
        for table, columns in result.tables.items()
    }


@given(config=tiny_runs())
@settings(max_examples=40, deadline=None)
def test_runs_conserve_work_and_never_beat_the_bound(config: dict[str, Any]) -> None:
    result = run(config, check=True)
    assert result.summary["e2e_s"] >= result.summary["bound_e2e_s"] > 0


@given(config=tiny_runs())
@settings(max_examples=15, deadline=None)
def test_a_run_without_memory_gives_the_same_integers(config: dict[str, Any]) -> None:
    remembered, forgotten = run(config), run(config, memo=False)
    assert integers(remembered) == integers(forgotten)
    assert remembered.summary == forgotten.summary


@given(config=tiny_runs())
@settings(max_examples=15, deadline=None)
def test_each_resource_is_given_the_time_its_work_needs(config: dict[str, Any]) -> None:
    result = run(config)
    resources = result.resources.set_index("resource")
    makespan_ps = int(result.tokens["duration_ps"].sum())
    assert (resources["busy_ps"] <= makespan_ps).all()
    assert resources["critical_ps"].sum() == makespan_ps


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_routed_pairs_are_computed_once_each(scheduler: str) -> None:
    result = run(tiny_config(scheduler=scheduler))
    tokens = result.tokens
    fed = np.array([12, 1, 1, 1, 1, 1])
    assert list(tokens["n_gpu"] + tokens["n_near"] + tokens["n_cpu"]) == list(fed * 2 * 3)


def test_times_of_steps_add_up() -> None:
    result = run(tiny_config())
    s, tokens = result.summary, result.tokens
    assert s["ttft_s"] == s["prefill_s"] == tokens["duration_ps"][0] / 1e12
    assert s["e2e_s"] == pytest.approx(tokens["emitted_ps"].iloc[-1] / 1e12)
    assert s["tpot_s"] == pytest.approx(tokens["duration_ps"][1:].mean() / 1e12)
    assert s["output_tokens_per_s"] == pytest.approx(6 / s["e2e_s"])


def test_one_output_token_has_no_time_per_token() -> None:
    result = run(tiny_config(workload={"prompt_tokens": 4, "output_tokens": 1}))
    assert result.summary["tpot_s"] is None
    assert result.summary["decode_s"] == 0.0


def test_more_units_are_never_slower_when_messages_are_free() -> None:
    """Tensor parallel, near data only; D divides the width; no cost to start, feed or collect."""
    free = {
        "scheduler": "tensor-parallel",
        "system.ndp.doorbell": "0 ns",
        "system.ndp.poll": "0 ns",
        "system.ndp.unit.command_latency": "0 ns",
        "system.topology.0.link": "pcie5-x16-paper",
        "system.topology.1.link.latency": "0 ns",
        "system.topology.1.link.lanes": 4096,
        "system.topology.0.link.lanes": 4096,
    }
    times = [
        run(tiny_config(), free | {"system.ndp.count": n}).summary["moe_decode_s"]
        for n in (1, 2, 3, 4, 6)
    ]
    assert times == sorted(times, reverse=True)


def test_prefetched_experts_serve_hits_and_only_after_they_arrived() -> None:
    base = tiny_config(workload={"prompt_tokens": 32, "output_tokens": 48})
    result = run(base, {"scheduler": "prefetch", "scheduler.prefetch.count": 4})
    assert result.summary["prefetched_experts"] == 12
    hits = result.tokens["n_hit"]
    assert hits.iloc[0] == 0, "nothing is resident during prefill"
    assert hits.iloc[1:].sum() > 0


def test_a_cache_of_everything_fetches_each_expert_once() -> None:
    change = {"scheduler": "on-demand", "scheduler.cache": "lru"}
    result = run(tiny_config(), change)
    cold = run(tiny_config(), {"scheduler": "on-demand"})
    expert = 3 * 256 * 192 * 2
    moved = result.summary["link_bytes"]["memory"]
    assert moved % expert == 0
    assert moved <= 3 * 8 * expert < cold.summary["link_bytes"]["memory"]


def test_what_the_plan_moved_is_what_links_carried() -> None:
    result = run(tiny_config(), {"scheduler": "on-demand"})
    prefill = result.layers.query("phase == 'prefill'")
    active = 3 * 256 * 192 * 2
    carried = result.summary["link_bytes"]
    ids = int((result.tokens["n_gpu"] * 4).sum())
    assert carried["pcie.up"] == ids, "only router ids leave the GPU"
    assert carried["memory"] == carried["pcie.down"], "every byte that leaves memory arrives"
    assert carried["memory"] % active == 0
    assert len(prefill) == 3


def test_tokens_with_fewer_experts_are_not_lost(tmp_path: Path) -> None:
    """-1 in a trace means none: such a token has fewer pairs, in decode as in prefill."""
    model = ModelSpec.model_validate(tiny_config()["model"])
    trace = synthesize(model, SyntheticSpec(), n_sequences=1, n_tokens=17, seed=3)
    trace.experts[::2, :, 1] = -1
    write_trace(tmp_path / "t.parquet", trace)
    result = run(
        tiny_config(trace=str(tmp_path / "t.parquet"), scheduler="tensor-parallel"), check=True
    )
    assert list(result.tokens["n_near"]) == [54, 3, 6, 3, 6, 3]


@pytest.mark.parametrize("scheduler", ["edge-gpu-ndp", "expert-parallel", "on-demand", "monde"])
def test_layers_without_any_active_expert_run(tmp_path: Path, scheduler: str) -> None:
    model = ModelSpec.model_validate(tiny_config()["model"])
    trace = synthesize(model, SyntheticSpec(), n_sequences=1, n_tokens=17, seed=3)
    trace.experts[:, 1] = -1
    write_trace(tmp_path / "t.parquet", trace)
    config = tiny_config(trace=str(tmp_path / "t.parquet"), scheduler=scheduler)
    result = run(config, check=True)
    assert result.summary["e2e_s"] >= result.summary["bound_e2e_s"] > 0
