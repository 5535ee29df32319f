"""Host and GPU with one memory: nothing is copied, and the run says so."""

import pytest

from ndpsim.experiment import run
from ndpsim.testing.configs import tiny_config

HOST = ("on-demand", "on-demand-lru", "mixtral-offloading", "fiddler", "cpu-offload")


@pytest.mark.parametrize("scheduler", HOST)
def test_fetching_is_a_no_op_and_says_so(scheduler: str) -> None:
    result = run(tiny_config(system="jetson-agx-orin", scheduler=scheduler), check=True)
    summary = result.summary
    assert summary["gpu_hit_frac"] == 1.0
    assert summary["link_bytes"]["memory"] == 0
    assert any("no-op" in note for note in summary["notes"])
    resident = run(tiny_config(system="jetson-agx-orin", scheduler="gpu-only")).summary
    assert summary["memory_bytes"]["gpu"] == resident["memory_bytes"]["gpu"]
    assert summary["tpot_s"] == pytest.approx(resident["tpot_s"], rel=0.1)


def test_a_machine_with_two_memories_has_nothing_to_say() -> None:
    config = tiny_config(system="rtx-4090-ryzen-7950x", scheduler="on-demand")
    summary = run(config, check=True).summary
    assert summary["notes"] == []
    assert summary["link_bytes"]["memory"] > 0
