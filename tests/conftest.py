"""What all tests share."""

import pytest
from hypothesis import settings

# A loaded machine is slow, not wrong: laws have no time limit per example.
settings.register_profile("ndpsim", deadline=None)
settings.load_profile("ndpsim")

TINY = """\
model:
  name: tiny
  n_layers: 2
  d_model: 256
  vocab: 1000
  attention: {kind: gqa, n_heads: 4, n_kv_heads: 2, head_dim: 64}
  n_experts: 8
  top_k: 2
  d_expert: 128
formats: {expert: fp16, weight: fp16, cache: fp16, activation: fp16}
system: edge
scheduler: edge-gpu-ndp
trace: {synthetic: {}}
workload: {prompt_tokens: 16, output_tokens: 4}
seed: 7
"""


@pytest.fixture
def tiny(tmp_path):
    """A configuration file of a model so small that a run takes milliseconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
