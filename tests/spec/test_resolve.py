import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndpsim.errors import ConfigError, UnknownName
from ndpsim.spec import digest, load_preset, resolve

from .specs import Gpu, Recent, Run, System, Workload

pytestmark = pytest.mark.usefixtures("made_up_presets")

EDGE = {"system": "edge"}


def values(*overrides, source=EDGE):
    return resolve(Run, source, overrides).values


def fault(*overrides, source=EDGE):
    with pytest.raises(ConfigError) as caught:
        resolve(Run, source, overrides)
    text = str(caught.value)
    assert "\n" not in text
    assert "http" not in text
    return text


@pytest.fixture
def config(tmp_path):
    """Writes a configuration file and resolves it."""

    def write(text, *overrides):
        path = tmp_path / "edge.yaml"
        path.write_text(text)
        return resolve(Run, path, overrides)

    return write


@pytest.fixture
def config_fault(config):
    """Writes a faulty configuration file and gives its error, the folder left out."""

    def write(text, *overrides):
        with pytest.raises(ConfigError) as caught:
            config(text, *overrides)
        where = str(caught.value)
        assert "\n" not in where
        return where[where.find("edge.yaml") :] if "edge.yaml" in where else where

    return write


# Presets, local differences, overrides


def test_a_name_stands_for_a_preset_everywhere_such_a_spec_is_expected():
    run = resolve(Run, {"system": {"gpu": "large", "links": ["slow", {"preset": "slow"}]}}).spec
    assert run.system.gpu == load_preset("gpu", "large", Gpu)
    assert [link.rate for link in run.system.links] == [10**9, 10**9]
    assert resolve(Run, {**EDGE, "system": {"preset": "edge", "spare": "slow"}}).spec.system.spare


def test_presets_are_named_inside_mappings_pairs_and_optional_fields():
    source = {**EDGE, "named": {"up": "slow"}, "pair": ["large", {"preset": "slow"}]}
    run = resolve(Run, source, ["named.down=slow", "named.down.rate=3 GB/s", "pair.0.sms=1"]).spec
    assert {name: link.rate for name, link in run.named.items()} == {"up": 10**9, "down": 3 * 10**9}
    assert run.pair is not None
    assert (run.pair[0].name, run.pair[0].sms, run.pair[1].rate) == ("large", 1, 10**9)


def test_a_preset_lists_only_its_differences_from_another():
    large = load_preset("gpu", "large", Gpu)
    assert (large.name, large.sms, large.memory.size) == ("large", 8, 80 * 2**30)
    assert large.memory.rate == 100 * 10**9


def test_local_differences_win_over_the_preset_at_any_depth():
    gpu = {"preset": "large", "memory": {"size": "1 GiB"}}
    run = resolve(Run, {"system": {"preset": "edge", "gpu": gpu}}).spec
    assert (run.system.gpu.sms, run.system.gpu.memory.size) == (8, 2**30)
    nested = resolve(Run, {"system": {"preset": "edge", "gpu": {"memory": {"size": "1 GiB"}}}}).spec
    assert nested.system.gpu.name == "small"
    assert nested.system.gpu.memory.rate == 100 * 10**9
    assert len(nested.system.links) == 2


def test_a_named_preset_replaces_what_another_preset_named():
    run = resolve(Run, {"system": {"preset": "edge", "gpu": "large"}}).spec
    assert run.system.gpu.name == "large"


def test_an_override_wins_over_the_file_which_wins_over_the_preset(config):
    run = config("system:\n  preset: edge\n  gpu: {sms: 2}\nseed: 4\n", "seed=6").spec
    assert (run.system.gpu.sms, run.system.gpu.name, run.seed) == (2, "small", 6)
    assert config("system: edge\n", "system.gpu.sms=3").spec.system.gpu.sms == 3


def test_overrides_reach_into_presets_lists_and_defaults():
    set_ = ("system.gpu.memory.size=32 MiB", "system.links.1.rate=5 GB/s", "workload.batch=4")
    got = values(*set_)
    assert got["system"]["gpu"]["memory"] == {"size": "32 MiB", "rate": "100 GB/s"}
    assert [link["rate"] for link in got["system"]["links"]] == ["1 GB/s", "5 GB/s"]
    assert got["workload"] == {"prompt": 256, "batch": 4}


def test_overrides_apply_in_order_and_name_presets_too():
    got = values("system.gpu=large", "system.gpu.sms=1", "system.spare=slow")
    assert got["system"]["gpu"]["name"] == "large"
    assert got["system"]["gpu"]["sms"] == 1
    assert got["system"]["spare"] == {"rate": "1 GB/s"}
    assert values("system.gpu.preset=large")["system"]["gpu"]["name"] == "large"
    assert values("system.gpu={preset: large, sms: 9}")["system"]["gpu"]["sms"] == 9
    assert values("system.gpu.latencies=[1 ns]")["system"]["gpu"]["latencies"] == ["1 ns"]
    assert values("notes.warm=3 ns")["notes"] == {"warm": "3 ns"}


def test_overrides_may_be_a_mapping():
    got = resolve(Run, EDGE, {"system.gpu.sms": 5, "workload": {"batch": 2}}).values
    assert got["system"]["gpu"]["sms"] == 5
    assert got["workload"] == {"prompt": 256, "batch": 2}


def test_a_mapping_builds_on_the_default_of_its_field():
    assert values(source={**EDGE, "workload": {"batch": 4}})["workload"]["prompt"] == 256


def test_a_null_clears_an_optional_field():
    assert values("system.spare=slow", "system.spare=null")["system"]["spare"] is None


def test_another_member_of_a_union_starts_anew():
    source = {**EDGE, "extend": {"kind": "loop", "turns": 5}, "either": {"kind": "loop"}}
    assert values("extend={kind: synth, share: 1}", source=source)["extend"] == {
        "kind": "synth",
        "share": 1.0,
    }
    assert values("either.turns=7", source=source)["either"] == {"kind": "loop", "turns": 7}
    assert values("extend.turns=7", source=source)["extend"]["turns"] == 7


def test_a_family_is_written_as_a_name_or_with_fields():
    assert values()["keep"] == {"policy": "nothing"}
    assert values("keep=recent")["keep"] == {"policy": "recent", "capacity": 4, "scope": "layer"}
    assert values("keep=recent", "keep.capacity=9")["keep"]["capacity"] == 9
    assert values("keep.policy=recent")["keep"]["policy"] == "recent"
    spec = resolve(Run, {**EDGE, "keep": {"policy": "recent", "scope": "global"}}).spec
    assert spec.keep == Recent(scope="global")
    again = values(
        "keep.capacity=2", source={**EDGE, "keep": {"policy": "recent", "scope": "global"}}
    )
    assert again["keep"] == {"policy": "recent", "capacity": 2, "scope": "global"}
    assert values("keep=nothing", source={**EDGE, "keep": {"policy": "recent", "capacity": 2}})[
        "keep"
    ] == {"policy": "nothing"}


# Resolved values


def test_resolved_values_read_back_to_the_same_spec():
    first = resolve(Run, EDGE, ["keep=recent", "extend={kind: loop}"])
    second = resolve(Run, first.values)
    assert first.spec == second.spec
    assert first.values == second.values
    assert digest(first.values) == digest(second.values)
    assert hash(first.spec) == hash(second.spec)


@given(st.integers(1, 10**6), st.integers(1, 2**40))
def test_equal_specs_hash_equally_and_different_ones_differ(sms, size):
    set_ = {"sms": sms, "memory": {"size": f"{size} B", "rate": "1 TB/s"}}
    one, two = Gpu.model_validate(set_), Gpu.model_validate(set_)
    assert (one == two, hash(one) == hash(two)) == (True, True)
    other = one.model_copy(update={"sms": sms + 1})
    assert other != one
    assert hash(other) != hash(one)
    copy = pickle.loads(pickle.dumps(one))
    assert (copy == one, hash(copy) == hash(one)) == (True, True)


def test_the_digest_covers_values_not_their_order():
    assert digest({"a": 1, "b": [1, "x"]}) == digest({"b": [1, "x"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({})) == 64
    with pytest.raises(ValueError):
        digest({"a": float("nan")})


def test_each_value_knows_where_it_came_from(config):
    resolved = config(
        "# a comment\nsystem:\n  preset: edge\n  gpu: {sms: 2}\nseed: 4\n", "workload.batch=3"
    )
    source = resolved.provenance
    assert source["system.gpu.memory.size"] == "preset gpu/small: Small data sheet, page 3"
    assert source["system.gpu.memory.rate"] == "preset gpu/small: assumed: as its sibling"
    assert source["system.links.1.rate"] == "preset system/edge: derived: twice as wide"
    assert source["system.gpu.sms"].endswith("edge.yaml:4")
    assert source["seed"].endswith("edge.yaml:5")
    assert source["workload.batch"] == "--set workload.batch=3"
    assert source["workload.prompt"] == source["trace"] == "default"
    assert resolved.presets == ("system/edge", "gpu/small", "link/slow")
    assert resolved.assumed == ("system.gpu.memory.rate",)


def test_paths_are_relative_to_the_file_that_names_them(config, tmp_path):
    run = config("system: edge\ntrace: ../traces/./real.parquet\n").spec
    assert run.trace == tmp_path.parent / "traces" / "real.parquet"
    assert config("system: edge\ntrace: /a/b\n").spec.trace == Path("/a/b")
    assert config("system: edge\n", "trace=c.parquet").spec.trace == Path("c.parquet")
    assert resolve(Run, {**EDGE, "trace": "d"}, (), Path("base")).spec.trace == Path("base/d")


def test_specs_may_be_given_as_objects():
    run = resolve(Run, {"system": load_preset("system", "edge", System), "seed": 2}).spec
    assert run.system.gpu.name == "small"
    assert resolve(Run, EDGE, {"workload": Workload(batch=3)}).spec.workload.batch == 3


# Faults: one line, with place, dotted path, what was expected and the nearest name

FAULTS = {
    "system.gpu.smss=1": "system.gpu.smss: unknown field; did you mean 'sms'?",
    "system.gpu.zzz=1": "system.gpu.zzz: unknown field; known: latencies, memory, name, sms",
    "sede=1": "sede: unknown field; did you mean 'seed'?",
    "system.gpu.memory.size=4": (
        "system.gpu.memory.size: bare number 4 for a size; write it with its unit, e.g. '4 B'"
    ),
    "system.gpu.memory.size=4 ns": (
        "system.gpu.memory.size: expected a size such as '1 B' "
        "(units: B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB), got '4 ns'"
    ),
    "system.gpu.memory.size=0 B": (
        "system.gpu.memory.size: a size must be more than zero, got '0 B'"
    ),
    "system.gpu.memory.size=-1 GiB": (
        "system.gpu.memory.size: a size must be more than zero, got '-1 GiB'"
    ),
    "system.gpu.latencies=[1 ns, 2]": (
        "system.gpu.latencies.1: bare number 2 for a time; write it with its unit, e.g. '2 ps'"
    ),
    "system.gpu.latencies=-1": "system.gpu.latencies: expected a list, got -1",
    "system.gpu.sms=0": "system.gpu.sms: must be greater than 0, got 0",
    "system.gpu.sms='8'": "system.gpu.sms: expected a whole number, got '8'",
    "system.gpu.sms=1e3": "system.gpu.sms: expected a whole number, got 1000.0",
    "system.gpu.sms=[1]": "system.gpu.sms: expected a whole number, got a list",
    "system.gpu=4": (
        "system.gpu: expected a gpu preset (large, small) or a mapping of fields, got 4"
    ),
    "system.gpu=smal": (
        "system.gpu: unknown gpu preset 'smal'; known: large, small; did you mean 'small'?"
    ),
    "system.gpu={preset: 3}": "system.gpu.preset: expected the name of a preset, got 3",
    "system.links.2.rate=1 GB/s": "system.links: no element '2'; it has 2, from 0",
    "system.links.one=slow": "system.links: no element 'one'; it has 2, from 0",
    "seed.x=1": "seed: expected a whole number, got a mapping",
    "system.gpu.sms.x=1": "system.gpu.sms: a single value; it has no 'x' below it",
    "extend.kind=lop": "extend.kind: unknown 'lop'; known: loop, synth; did you mean 'loop'?",
    "extend={turns: 1}": "extend: missing kind; one of loop, synth",
    "extend={kind: synth}": "extend.share: missing",
    "extend={kind: synth, share: 2}": "extend.share: must be less than or equal to 1, got 2",
    "either={kind: synth, share: 2}": "either.share: must be less than or equal to 1, got 2",
    "either={kind: loop, turn: 2}": "either.turn: unknown field; did you mean 'turns'?",
    "either={kind: lop}": "either.kind: unknown 'lop'; known: loop, synth; did you mean 'loop'?",
    "keep=recnt": ("keep: unknown policy 'recnt'; known: nothing, recent; did you mean 'recent'?"),
    "keep={policy: recent, capacty: 2}": "keep.capacty: unknown field; did you mean 'capacity'?",
    "keep={policy: recent, scope: lyer}": (
        "keep.scope: unknown 'lyer'; known: global, layer; did you mean 'layer'?"
    ),
    "keep.capacity=2": "keep.capacity: unknown field; known: none",
    "trace=3": "trace: expected a path, got 3",
    "workload.batch=1.5": "workload.batch: expected a whole number, got 1.5",
    "workload=": "expected KEY=VALUE, such as workload.batch=4",
    "workload": "expected KEY=VALUE, such as workload.batch=4",
    "=1": "expected KEY=VALUE, such as workload.batch=4",
    "a..b=1": "'a..b' is not a dotted path, such as workload.batch",
    "a. b=1": "'a. b' is not a dotted path, such as workload.batch",
    "seed=[1": "not valid YAML: expected ',' or ']', but got '<stream end>'",
}


@pytest.mark.parametrize(("override", "message"), FAULTS.items())
def test_a_fault_in_an_override_is_one_line(override, message):
    assert fault(override) == f"--set {override}: {message}"


def test_a_fault_in_a_file_names_its_line(config_fault):
    assert config_fault("system:\n  preset: edge\n  gpu:\n    smss: 3\n") == (
        "edge.yaml:4: system.gpu.smss: unknown field; did you mean 'sms'?"
    )
    assert config_fault("system:\n  preset: edg\n") == (
        "edge.yaml:2: system.preset: unknown system preset 'edg'; known: edge; did you mean 'edge'?"
    )
    assert config_fault("seed: 0\nsystem: edge\nkeep:\n  policy: recent\n  capacity: x\n") == (
        "edge.yaml:5: keep.capacity: expected a whole number, got 'x'"
    )


def test_a_missing_field_is_named_where_it_should_be(config_fault):
    assert config_fault("seed: 0\n") == "edge.yaml:1: system: missing"
    assert config_fault("seed: 0\nsystem:\n  gpu:\n    memory: {size: 1 B, rate: 1 B/s}\n") == (
        "edge.yaml:3: system.gpu.sms: missing; Streaming multiprocessors."
    )


def test_a_fault_of_several_fields_together_names_their_spec(config_fault):
    assert config_fault("system: edge\nseed: 3\n") == "edge.yaml:1: seed must be even in this test"
    slow = "system.gpu.memory: reading it all takes longer than 10 s"
    assert fault("seed=4", "system.gpu.memory.rate=1 B/s") == (
        f"--set system.gpu.memory.rate=1 B/s: {slow}"
    )
    text = "seed: 0\nsystem:\n  preset: edge\n  gpu:\n    memory:\n      rate: 1 B/s\n"
    assert config_fault(text) == f"edge.yaml:5: {slow}"


def test_further_faults_are_counted(config_fault):
    text = "system: edge\nseed: x\nsede: 1\nworkload: {batch: 0, prompt: 0}\n"
    assert config_fault(text) == (
        "edge.yaml:4: workload.prompt: must be greater than 0, got 0 (and 3 more)"
    )


def test_an_unknown_preset_is_an_unknown_name():
    with pytest.raises(UnknownName, match="unknown gpu preset 'medium'"):
        load_preset("gpu", "medium", Gpu)
    with pytest.raises(UnknownName, match="known: large, small"):
        load_preset("gpu", "../gpu/small", Gpu)


def test_long_values_are_shortened_and_lines_joined():
    assert len(fault("system.gpu.sms=" + "x" * 500)) < 200
    assert "\n" not in fault("system.gpu.sms='a\n\n  b'")


def test_one_text_is_not_a_sequence_of_overrides():
    with pytest.raises(TypeError):
        resolve(Run, EDGE, "seed=2")
