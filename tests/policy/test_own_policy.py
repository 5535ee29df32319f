"""A policy in a user's own file, as docs/your-own-policy.md tells it."""

import re
import textwrap
from pathlib import Path

import pytest

import ndpsim
from ndpsim import registry
from ndpsim.errors import ConfigError, UnknownName
from ndpsim.policy import SchedulerSpec
from ndpsim.spec import resolve
from ndpsim.testing import DispatchContract
from ndpsim.testing.configs import tiny_config

PAGE = Path(__file__).parents[2] / "docs" / "your-own-policy.md"


def blocks():
    """Indented blocks of the page."""
    text = PAGE.read_text()
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, flags=re.MULTILINE)
    return [textwrap.dedent(block).strip("\n") + "\n" for block in found]


def block(start):
    return next(text for text in blocks() if text.startswith(start))


@pytest.fixture
def folder(tmp_path):
    """The page's files, and a configuration in another folder than the working directory."""
    code, run = block("# my_policy.py").split("# in run.yaml", 1)
    (tmp_path / "my_policy.py").write_text(code)
    scheduler = run.partition("\n")[2]
    assert scheduler.startswith("scheduler:")
    config = {k: v for k, v in tiny_config().items() if k != "scheduler"}
    import yaml

    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config) + scheduler)
    return tmp_path


class TestThresholdOfThePage(DispatchContract):
    @pytest.fixture
    def policy(self, folder):
        return registry.lookup("dispatch", f"{folder}/my_policy.py:Threshold")(n_tokens=3)


def test_the_page_is_short_and_its_example_runs(folder):
    result = ndpsim.run(folder / "run.yaml")
    base = ndpsim.run(tiny_config(scheduler="tensor-parallel"))
    fetched = ndpsim.run(folder / "run.yaml", {"scheduler.dispatch.n_tokens": 1})
    assert result.summary["moe_decode_s"] == base.summary["moe_decode_s"]
    assert fetched.layers["n_near"].sum() == 0
    assert len(block("# my_policy.py").splitlines()) <= 25


def test_the_page_tells_the_truth_about_costs_from_a_table():
    names = {}
    exec(block("from ndpsim.policy import CostTable"), names)  # the page's own code
    assert names["plan"].gpu == (0,)
    assert names["plan"].near == (1, 2)
    assert names["layer"] == 160


def test_the_page_replays_a_cache(capsys):
    names = {}
    exec(block("from ndpsim.policy import CostTable"), names)
    exec(block("from ndpsim.policy.cache.lfu"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["0 (1, 4) 120", "1 (1, 4) 120", "0 (1, 4, 6) 70"]


def test_its_path_is_relative_to_the_file_that_names_it(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    path = Path(folder.name) / "run.yaml"
    assert ndpsim.run(path).summary["e2e_s"] == ndpsim.run(folder / "run.yaml").summary["e2e_s"]


def test_its_text_is_part_of_the_config_hash(folder):
    before = ndpsim.run(folder / "run.yaml").summary["config_hash"]
    file = folder / "my_policy.py"
    file.write_text(file.read_text() + "\n# another remark\n")
    assert ndpsim.run(folder / "run.yaml").summary["config_hash"] != before


def test_where_it_lies_is_not(folder, tmp_path):
    before = ndpsim.run(folder / "run.yaml").summary["config_hash"]
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("run.yaml", "my_policy.py"):
        (other / name).write_text((folder / name).read_text())
    assert ndpsim.run(other / "run.yaml").summary["config_hash"] == before


def test_a_scheduler_with_it_is_written_and_read_again(folder):
    values = {"preset": "tensor-parallel", "dispatch": f"{folder}/my_policy.py:Threshold"}
    spec = resolve(SchedulerSpec, values).spec
    assert SchedulerSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "my_policy.py:Treshold",
            ConfigError,
            r"unknown dispatch class in .*my_policy\.py 'Treshold'.*Threshold",
        ),
        ("other.py:Threshold", ConfigError, r"other\.py: no such file"),
        ("broken.py:Threshold", ConfigError, r"broken\.py cannot be loaded: .*no_such_module"),
        ("my_policy.py:Plan", ConfigError, "unknown"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(folder, name, error, message):
    (folder / "broken.py").write_text("import no_such_module\n")
    config = tiny_config(scheduler={"preset": "tensor-parallel", "dispatch": f"{folder}/{name}"})
    with pytest.raises(error, match=message) as caught:
        ndpsim.run(config)
    assert "\n" not in str(caught.value)


def test_a_field_it_does_not_have_is_named(folder):
    with pytest.raises(ConfigError, match="n_token"):
        ndpsim.run(folder / "run.yaml", {"scheduler.dispatch.n_token": 3})


def test_a_class_of_another_kind_is_not_taken(folder):
    with pytest.raises(UnknownName, match="cache class"):
        registry.lookup("cache", f"{folder}/my_policy.py:Threshold")
