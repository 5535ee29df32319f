"""Presets of made-up hardware, so that these tests do not move when shipped presets do."""

import pytest

from ndpsim.spec import presets

FILES = {
    "gpu/small.yaml": """\
about: a small GPU
sources: {sheet: "Small data sheet, page 3"}
from: sheet
sms: 8
memory:
  size: 8 GiB
  rate: {value: 100 GB/s, from: assumed, why: "as its sibling"}
latencies: [10 ns, 20 ns]
""",
    "gpu/large.yaml": """\
about: a large GPU, otherwise as the small one
sources: {report: "Large report, table 1"}
preset: small
memory:
  from: report
  size: 80 GiB
""",
    "link/slow.yaml": """\
about: a slow link
sources: {rule: "Link rule"}
rate: {value: 1 GB/s, from: rule}
""",
    "system/edge.yaml": """\
about: one GPU behind a slow link
sources: {own: "own choice"}
gpu: small
links:
  - slow
  - {preset: slow, rate: {value: 2 GB/s, from: derived, why: "twice as wide"}}
""",
}


@pytest.fixture
def made_up_presets(tmp_path, monkeypatch):
    """Replaces the shipped presets."""
    for name, text in FILES.items():
        path = tmp_path / "presets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(presets, "files", lambda package: tmp_path)
    presets._files.cache_clear()
    presets._read.cache_clear()
    yield
    presets._files.cache_clear()
    presets._read.cache_clear()


@pytest.fixture
def add_preset(tmp_path):
    """Writes a preset file of a kind."""

    def add(kind, name, text):
        path = tmp_path / "presets" / kind / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        presets._files.cache_clear()

    return add
