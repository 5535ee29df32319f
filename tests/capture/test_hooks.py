"""Routing seen by the hooks is the routing the model used, or nothing is recorded."""

import numpy as np
import pytest

NEEDS = "needs the optional extra: pip install 'ndpsim[capture]'"
torch = pytest.importorskip("torch", reason=NEEDS)
transformers = pytest.importorskip("transformers", minversion="5", reason=NEEDS)
pytest.importorskip("tokenizers", reason=NEEDS)

from ndpsim.capture.generate import Sampling, capture, trace_of  # noqa: E402
from ndpsim.capture.hooks import RouterTap, routers  # noqa: E402
from ndpsim.errors import TraceError  # noqa: E402
from ndpsim.workload.trace import read_trace, write_trace  # noqa: E402

N_EXPERTS, TOP_K, LAYERS = 16, 4, (1, 2, 3)
TINY = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = transformers.Qwen3MoeConfig(
        **TINY,
        moe_intermediate_size=16,
        num_experts=N_EXPERTS,
        num_experts_per_tok=TOP_K,
        norm_topk_prob=True,
        mlp_only_layers=[0],
    )
    return transformers.Qwen3MoeForCausalLM(config).eval()


@pytest.fixture
def prompts():
    return np.random.default_rng(0).integers(1, 64, size=(2, 6))


@pytest.fixture
def routed(model, prompts):
    return capture(model, prompts, Sampling(decode_tokens=5, seed=3))


def test_layers_are_decoder_layers_dense_ones_not_listed(model, routed):
    assert tuple(layer for layer, _, _ in routers(model)) == LAYERS
    assert routed.layers == LAYERS


def test_each_position_has_one_row_prompt_and_decoded_alike(routed, prompts):
    assert routed.tokens.shape == (2, 11)
    assert routed.ids.shape == routed.weights.shape == (2, 11, len(LAYERS), TOP_K)
    assert (routed.tokens[:, :6] == prompts).all()


def test_decoding_step_by_step_routes_as_one_pass_over_the_whole_text(model, routed):
    """A row belongs to the token at its position: a pass without cache gives the same rows."""
    with torch.no_grad(), RouterTap(model) as tap:
        model(input_ids=torch.from_numpy(routed.tokens), use_cache=False)
        ids, weights = tap.take(batch=2)
    assert (ids == routed.ids).all()
    np.testing.assert_allclose(weights, routed.weights, atol=2e-3)


def test_ids_are_the_top_k_of_the_routers_own_logits(model, routed):
    with torch.no_grad():
        output = model(input_ids=torch.from_numpy(routed.tokens), output_router_logits=True)
    for layer, logits in enumerate(output.router_logits):
        probs, ids = logits.softmax(-1).topk(TOP_K)
        assert (ids.view(2, -1, TOP_K).numpy() == routed.ids[:, :, layer]).all()
        share = (probs / probs.sum(-1, keepdim=True)).view(2, -1, TOP_K)
        np.testing.assert_allclose(share.numpy(), routed.weights[:, :, layer], atol=2e-3)


def test_same_seed_same_tokens_another_seed_others(model, prompts, routed):
    again = capture(model, prompts, Sampling(decode_tokens=5, seed=3))
    other = capture(model, prompts, Sampling(decode_tokens=5, seed=4))
    assert (again.tokens == routed.tokens).all()
    assert (again.ids == routed.ids).all()
    assert (other.tokens != routed.tokens).any()


def test_a_forbidden_token_is_never_drawn(model, prompts):
    allowed = 7
    forbidden = tuple(t for t in range(64) if t != allowed)
    routed = capture(model, prompts, Sampling(decode_tokens=3, forbidden=forbidden))
    assert (routed.tokens[:, 6:] == allowed).all()


def test_hooks_are_gone_afterwards(model, routed):
    modules = list(model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def test_trace_survives_the_file(tmp_path, routed):
    trace = trace_of(routed, "tiny", N_EXPERTS, {"licence": "Apache-2.0"})
    write_trace(tmp_path / "tiny.parquet", trace)
    back = read_trace(tmp_path / "tiny.parquet")
    assert back.info == trace.info
    assert not back.info.synthetic
    assert back.phase.tolist() == [0] * 6 + [1] * 5 + [0] * 6 + [1] * 5
    assert (back.experts.reshape(routed.ids.shape) == routed.ids).all()
    assert (back.weights.reshape(routed.weights.shape) == routed.weights).all()


def test_experts_that_get_other_ids_are_refused(model, prompts, monkeypatch):
    def forward(self, x):
        flat = x.flatten(0, 1)
        _, weights, ids = self.gate(flat)
        return self.experts(flat, (ids + 1) % N_EXPERTS, weights).view_as(x)

    monkeypatch.setattr(type(model.model.layers[1].mlp), "forward", forward)
    with pytest.raises(TraceError, match="ids of the router differ"):
        capture(model, prompts, Sampling(decode_tokens=1))


def test_experts_that_go_round_their_module_are_refused(model, prompts, monkeypatch):
    block = type(model.model.layers[1].mlp)

    def forward(self, x):
        flat = x.flatten(0, 1)
        _, weights, ids = self.gate(flat)
        return self.experts.forward(flat, ids, weights).view_as(x)

    monkeypatch.setattr(block, "forward", forward)
    with pytest.raises(TraceError, match="experts did not run through their module"):
        capture(model, prompts, Sampling(decode_tokens=1))


def test_a_router_with_other_outputs_is_refused(model, prompts, monkeypatch):
    router = type(model.model.layers[1].mlp.gate)
    genuine = router.forward
    monkeypatch.setattr(router, "forward", lambda self, x: genuine(self, x)[:2])
    with pytest.raises(TraceError, match="does not return"):
        capture(model, prompts, Sampling(decode_tokens=1))


def test_a_model_without_routers_is_refused():
    dense = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**TINY))
    with pytest.raises(TraceError, match="no router"):
        RouterTap(dense)


@pytest.mark.parametrize("family", ["Mixtral", "Olmoe", "Qwen2Moe", "GptOss", "DeepseekV3"])
def test_other_families_are_read_the_same_way(family):
    sizes = {
        **TINY,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "moe_intermediate_size": 16,
        "num_experts": 8,
        "num_local_experts": 8,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    }
    config_type = getattr(transformers, f"{family}Config")
    known = set(config_type.__dataclass_fields__) | set(config_type.attribute_map)
    config = config_type(**{k: v for k, v in sizes.items() if k in known})
    model = getattr(transformers, f"{family}ForCausalLM")(config)
    routed = capture(model, np.ones((1, 4), np.int64), Sampling(decode_tokens=2))
    first = 1 if family == "DeepseekV3" else 0
    assert routed.layers == tuple(range(first, 2))
    assert routed.ids.shape == (1, 6, 2 - first, 2)
