"""The main job's configuration, at full model size and short length."""

from pathlib import Path

import pytest

from ndpsim.experiment import run
from ndpsim.units import parse_quantity

CONFIGS = Path(__file__).parents[2] / "configs"


def test_expert_parallel_loses_more_with_every_unit() -> None:
    """First-order arithmetic for Qwen3-30B-A3B, batch 1: the busiest of D units holds more than 8/D
    of 8 active experts, by factors near 1.26, 1.49, 1.67, 1.92 and 2.05 at D = 2 to 6.
    """
    short = {
        "workload.prompt_tokens": 8,
        "workload.output_tokens": 25,
        "trace": {"synthetic": {}},
        "system": "edge-paper",
    }

    def ratio(n_units: int) -> float:
        times = [
            run(
                CONFIGS / "edge.yaml",
                short | {"scheduler": scheduler, "system.ndp.count": n_units},
            ).summary["moe_decode_s"]
            for scheduler in ("expert-parallel", "tensor-parallel")
        ]
        return float(times[0] / times[1])

    ratios = [ratio(n) for n in (2, 3, 4, 5, 6)]
    assert ratios == sorted(ratios)
    assert ratios == pytest.approx([1.26, 1.49, 1.67, 1.92, 2.05], rel=0.08)


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_shipped_configurations_run(config: str) -> None:
    result = run(CONFIGS / config, {"workload.output_tokens": 3, "workload.prompt_tokens": 32})
    assert result.summary["e2e_s"] > result.summary["bound_e2e_s"] > 0
    capacity = parse_quantity(result.values["system"]["gpu"]["memory_capacity"], "size")
    assert result.summary["memory_bytes"]["gpu"] < capacity


def test_decode_of_one_token_is_bounded_by_what_must_be_read() -> None:
    """Eight experts of 9.44 MB over 4 x 102.4 GB/s, 48 layers: no token's experts take less."""
    result = run(
        CONFIGS / "edge.yaml",
        {"workload.output_tokens": 2, "workload.prompt_tokens": 8, "scheduler": "tensor-parallel"},
    )
    floor_s = 48 * 8 * 9437184 / 409.6e9
    assert floor_s < result.summary["moe_decode_s"] < 1.2 * floor_s
