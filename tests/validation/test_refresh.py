"""The refresh-phase rule against an unbroken simulation."""

from pathlib import Path

import pytest

from ndpsim.experiment import RunSpec
from ndpsim.spec import resolve
from ndpsim.validation.refresh import refresh_error

EDGE = Path(__file__).parents[2] / "configs" / "edge.yaml"


@pytest.mark.parametrize("scheduler", ["tensor-parallel", "prefetch"])
def test_phases_in_turn_cost_what_refresh_really_costs(scheduler: str) -> None:
    """Over a few hundred stages the rule is right to a tenth of a percent."""
    short = {
        "scheduler": scheduler,
        "workload.prompt_tokens": 8,
        "workload.output_tokens": 9,
    }
    error = refresh_error(resolve(RunSpec, EDGE, short))
    assert error.unbroken_ps != error.phased_ps, "the two take different paths"
    assert abs(error.error_frac) < 0.001
