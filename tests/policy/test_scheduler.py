import pytest

from ndpsim.policy import SchedulerSpec
from ndpsim.policy.dispatch.monde import BandwidthRatio
from ndpsim.spec import load_preset, preset_names

PLAIN = {
    "partition": "tensor-parallel",
    "dispatch": "load-balance",
    "prefetch": "none",
    "cache": "none",
}


def scheduler(**differences):
    return SchedulerSpec.model_validate(PLAIN | differences)


def test_a_policy_may_be_a_name_or_a_name_with_parameters():
    spec = scheduler(dispatch={"policy": "monde", "rounding": "ceil"})
    assert spec.dispatch == BandwidthRatio(rounding="ceil")
    assert spec.partition.name == "tensor-parallel"


def test_a_scheduler_written_and_read_again_is_equal():
    spec = scheduler(dispatch={"policy": "monde", "rounding": "ceil"})
    again = SchedulerSpec.model_validate(spec.model_dump(mode="json"))
    assert again == spec
    assert hash(again) == hash(spec)


def test_parameters_make_another_scheduler():
    assert scheduler(dispatch="monde") != scheduler(
        dispatch={"policy": "monde", "rounding": "ceil"}
    )


@pytest.mark.parametrize("name", preset_names("scheduler"))
def test_every_named_scheduler_loads_under_its_name(name):
    assert load_preset("scheduler", name, SchedulerSpec).name == name


def test_the_seed_papers_scheduler_is_all_three_parts():
    spec = load_preset("scheduler", "edge-gpu-ndp", SchedulerSpec)
    parts = (spec.partition, spec.dispatch, spec.prefetch, spec.cache)
    assert [part.name for part in parts] == [
        "tensor-parallel",
        "load-balance",
        "prefill-frequency",
        "pinned",
    ]


@pytest.mark.parametrize(
    ("differences", "message"),
    [
        ({"dispatch": "load-balanced"}, "unknown dispatch 'load-balanced'.*did you mean 'load-bal"),
        ({"dispatch": {"rounding": "ceil"}}, "expected a dispatch name or a mapping with 'policy"),
        ({"dispatch": {"policy": "monde", "rounding": "up"}}, "rounding"),
        ({"dispatch": {"policy": "monde", "round": "up"}}, "round"),
        ({"partition": "host"}, "computes near data, but partition 'host' keeps experts in host"),
        ({"prefetch": "prefill-frequency"}, "needs a cache that keeps what arrives"),
    ],
)
def test_what_cannot_work_is_refused(differences, message):
    with pytest.raises(ValueError, match=message):
        scheduler(**differences)
