"""Published evaluations, run again on short requests."""

from pathlib import Path

import pytest

from ndpsim.errors import UnknownName
from ndpsim.validation.reproduce import reproduce

ROOT = Path(__file__).parents[2]
SHORT = {"workload.prompt_tokens": 4, "workload.output_tokens": 3}
PUBLISHED = {
    "e2e_vs_monde_mean",
    "e2e_vs_monde_max",
    "e2e_vs_ondemand_max",
    "e2e_vs_fiddler_max",
    "ablation_tp",
    "ablation_tp_balance",
    "ablation_tp_prefetch",
    "ablation_all",
    "qwen3_tp_prefill",
    "qwen3_tp_decode",
}


def test_every_published_figure_has_ours_beside_it() -> None:
    result = reproduce("edge-gpu-ndp", overrides=SHORT, n_units=[2])
    figures = {figure.quantity: figure for figure in result.figures}
    assert {name for name, f in figures.items() if f.paper is not None} == PUBLISHED
    assert all(figures[name].ours for name in PUBLISHED)
    assert figures["ablation_all"].ours == figures["e2e_vs_monde_mean"].ours
    assert figures["two_dimm_regression"].ours is not None
    assert {model for model, _ in result.infeasible} == {"phi-3.5-moe", "mixtral-8x7b"}


def test_captured_routing_takes_the_place_of_fitted_routing() -> None:
    result = reproduce("edge-gpu-ndp", overrides=SHORT, n_units=[4], captured=ROOT)
    assert {model for model, _ in result.times} == {"qwen3-30b-a3b"}


def test_an_unknown_evaluation_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="known: edge-gpu-ndp"):
        reproduce("edge-gpu")
