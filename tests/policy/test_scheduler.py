import pytest

from ndpsim import registry
from ndpsim.errors import ConfigError
from ndpsim.policy import Cache, SchedulerSpec
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


# --- what a scheduler uses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "devices", "fields"),
    [
        ("edge-gpu-ndp", ("gpu", "ndp"), ("ids",)),
        ("fiddler", ("gpu", "host", "cpu"), ("ids", "other sequences")),
        ("mixtral-offloading", ("gpu", "host"), ("ids",)),
        ("trimoe", ("gpu", "ndp", "cpu"), ("ids", "other sequences")),
        ("cxl-ndp", ("gpu", "ndp"), ("ids", "weights")),
        ("oracle", ("gpu", "ndp"), ("ids", "the future")),
        ("gpu-only", ("gpu",), ("ids",)),
    ],
)
def test_a_scheduler_states_its_devices_and_trace_fields(name, devices, fields):
    spec = load_preset("scheduler", name, SchedulerSpec)
    assert spec.devices == devices
    assert spec.trace_fields == fields
    assert spec.exact


def test_only_an_oracle_sees_the_future():
    names = preset_names("scheduler")
    seeing = [n for n in names if load_preset("scheduler", n, SchedulerSpec).oracle]
    assert seeing == ["oracle"]


def test_every_published_scheduler_has_a_name():
    assert {
        "expert-parallel",
        "tensor-parallel",
        "load-balanced",
        "prefetch",
        "edge-gpu-ndp",
        "monde",
        "monde-ndp",
        "moe-ondemand",
        "on-demand-lru",
        "fiddler",
        "dynande",
        "dynande-no-cache",
        "mixtral-offloading",
        "dali",
        "trimoe",
        "cxl-ndp",
        "oracle",
    } <= set(preset_names("scheduler"))


@pytest.mark.parametrize("name", preset_names("scheduler"))
def test_every_decision_can_be_free(name):
    spec = load_preset("scheduler", name, SchedulerSpec)
    free = {"decision_base": "0 ns", "decision_per_expert": "0 ns"}
    for part in (spec.dispatch, spec.prefetch, spec.cache):
        fields = {k: v for k, v in part.model_dump(mode="json").items() if k != "policy"}
        assert type(part).model_validate(fields | free).decision_ps(128) == 0


def test_identity_counts_a_file_by_its_content(tmp_path):
    def identity(path):
        policy = {"policy": "balanced", "profile": str(path)}
        return scheduler(partition=policy).identity()

    first, copy, other = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    first.write_text("layer,expert,count\n0,0,1\n")
    copy.write_text(first.read_text())
    other.write_text("layer,expert,count\n0,0,2\n")
    assert identity(first) == identity(copy) != identity(other)


def test_a_lookahead_needs_a_cache_that_keeps_what_arrives():
    with pytest.raises(ValueError, match="prefetch 'next-gate' needs a cache that keeps"):
        scheduler(prefetch={"policy": "next-gate", "recall": 0.9})


def test_what_is_no_policy_is_refused(monkeypatch):
    monkeypatch.setattr(registry, "lookup", lambda kind, name: print)
    with pytest.raises(ConfigError, match="'mine' is no policy"):
        Cache.family_member("mine")
    with pytest.raises(ValueError, match="'mine' is no policy"):
        scheduler(cache="mine")
