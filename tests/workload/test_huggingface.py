"""A published config.json gives the published model; anything else is one clear line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndpsim.errors import ConfigError
from ndpsim.spec import load_preset
from ndpsim.workload.huggingface import read_huggingface_config
from ndpsim.workload.spec import ModelSpec

HEADS = {"num_attention_heads": 32, "num_key_value_heads": 8}
DEEPSEEK = {
    "hidden_size": 2048, "vocab_size": 102400, "num_attention_heads": 16,
    "num_key_value_heads": 16, "n_routed_experts": 64, "n_shared_experts": 2,
    "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "intermediate_size": 10944,
    "first_k_dense_replace": 1, "moe_layer_freq": 1,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3-30b-a3b": {
        "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "head_dim": 128,
        "num_attention_heads": 32, "num_key_value_heads": 4, "num_experts": 128,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768, "intermediate_size": 6144,
        "vocab_size": 151936, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "sliding_window": None, "use_sliding_window": False, "tie_word_embeddings": False,
    },
    "deepseek-moe-16b": DEEPSEEK | {"model_type": "deepseek", "num_hidden_layers": 28},
    "deepseek-v2-lite": DEEPSEEK | {
        "model_type": "deepseek_v2", "num_hidden_layers": 27, "kv_lora_rank": 512,
        "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    },
    "phi-3.5-moe": HEADS | {
        "model_type": "phimoe", "hidden_size": 4096, "num_hidden_layers": 32,
        "intermediate_size": 6400, "vocab_size": 32064, "num_local_experts": 16,
        "num_experts_per_tok": 2, "attention_bias": True, "lm_head_bias": True,
        "sliding_window": 131072, "max_position_embeddings": 131072,
    },
    "mixtral-8x7b": HEADS | {
        "model_type": "mixtral", "hidden_size": 4096, "num_hidden_layers": 32,
        "intermediate_size": 14336, "vocab_size": 32000, "num_local_experts": 8,
        "num_experts_per_tok": 2, "sliding_window": None,
    },
    "olmoe-1b-7b": {
        "model_type": "olmoe", "hidden_size": 2048, "num_hidden_layers": 16,
        "num_attention_heads": 16, "num_key_value_heads": 16, "intermediate_size": 1024,
        "vocab_size": 50304, "num_experts": 64, "num_experts_per_tok": 8,
    },
    "gpt-oss-20b": {
        "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24, "head_dim": 64,
        "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 2880,
        "vocab_size": 201088, "num_local_experts": 32, "num_experts_per_tok": 4,
        "attention_bias": True, "sliding_window": 128, "max_position_embeddings": 131072,
        "layer_types": ["sliding_attention", "full_attention"] * 12,
    },
}  # fmt: skip


def write(folder: Path, content: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("preset", CONFIGS)
def test_a_published_config_is_the_preset(preset: str, tmp_path: Path) -> None:
    write(tmp_path, CONFIGS[preset])
    expected = load_preset("model", preset, ModelSpec)
    assert read_huggingface_config(tmp_path, name=expected.name) == expected


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (  # DeepSeek-V3; the 58 x 256 routing corrections come on top of its weights
            {
                "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61,
                "vocab_size": 129280, "num_attention_heads": 128, "n_routed_experts": 256,
                "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
                "intermediate_size": 18432, "first_k_dense_replace": 3, "q_lora_rank": 1536,
                "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
                "v_head_dim": 128,
            },
            671_026_404_352 + 58 * 256,
        ),
        (  # Qwen1.5-MoE-A2.7B
            {
                "model_type": "qwen2_moe", "hidden_size": 2048, "num_hidden_layers": 24,
                "vocab_size": 151936, "num_attention_heads": 16, "num_key_value_heads": 16,
                "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
                "shared_expert_intermediate_size": 5632, "intermediate_size": 5632,
            },
            14_315_784_192,
        ),
    ],
)  # fmt: skip
def test_other_families_have_the_parameters_of_their_implementation(
    config: dict[str, Any], total: int, tmp_path: Path
) -> None:
    """Totals are those of transformers 5.23 for the same configuration."""
    assert read_huggingface_config(write(tmp_path, config)).total_params == total


def test_sparse_step_and_named_layers_are_dense(tmp_path: Path) -> None:
    changes = {"num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3]}
    model = read_huggingface_config(write(tmp_path, CONFIGS["qwen3-30b-a3b"] | changes))
    assert (model.dense_layers, model.d_dense) == ((0, 2, 3, 4), 6144)


QWEN = CONFIGS["qwen3-30b-a3b"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "must be a JSON object"),
        ({}, "'model_type' is missing"),
        ({"model_type": "qwen3_mo"}, "not supported; supported: deepseek, .* 'qwen3_moe'"),
        ({"model_type": 3}, "'model_type' must be a text, not 3"),
        ({"model_type": "a\nb" * 99}, r"model_type 'a\\nba\\nb"),
        ({"model_type": "qwen3_moe"}, "'num_hidden_layers' is missing"),
        (QWEN | {"hidden_size": "2048"}, "'hidden_size' must be a whole number, not '2048'"),
        (QWEN | {"hidden_size": True}, "'hidden_size' must be a whole number, not True"),
        (QWEN | {"hidden_size": 0}, "d_model: Input should be greater than 0"),
        (QWEN | {"vocab_size": -5}, r"must be from 0 to 2\^31"),
        (QWEN | {"vocab_size": 10**400}, r"must be from 0 to 2\^31"),
        (QWEN | {"num_hidden_layers": 2**31 - 1}, "n_layers: Input should be less than"),
        (QWEN | {"num_experts_per_tok": 200}, "top_k 200 exceeds n_experts 128"),
        (QWEN | {"mlp_only_layers": ["0"]}, "must be a list of layer indices"),
        (QWEN | {"mlp_only_layers": [10**9]}, None),
        (QWEN | {"tie_word_embeddings": "no"}, "must be true or false"),
        (QWEN | {"num_key_value_heads": 5}, "is not a multiple"),
        (CONFIGS["mixtral-8x7b"] | {"hidden_size": 4095}, "not a multiple of"),
        (CONFIGS["gpt-oss-20b"] | {"layer_types": 3}, "must be a list of attention kinds"),
        (
            CONFIGS["gpt-oss-20b"] | {"layer_types": ["sliding_attention"] * 99},
            "less than n_layers",
        ),
    ],
)
def test_a_config_that_makes_no_model_is_one_clear_line(
    content: object, says: str | None, tmp_path: Path
) -> None:
    path = write(tmp_path, content)
    if says is None:
        assert read_huggingface_config(path).dense_layers == ()
        return
    with pytest.raises(ConfigError, match=says) as caught:
        read_huggingface_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", bytes(range(256)), b"[" * 100_000, b" " * 2_000_000, b"NaN"]
)
def test_a_file_that_is_no_config_is_one_clear_line(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    for place in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError) as caught:
            read_huggingface_config(place)
        assert "\n" not in str(caught.value)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers())


@settings(deadline=None)
@given(
    preset=st.sampled_from(sorted(CONFIGS)),
    changes=st.dictionaries(
        st.sampled_from(sorted({k for c in CONFIGS.values() for k in c} - {"model_type"})),
        VALUES,
        max_size=3,
    ),
)
def test_no_configuration_escapes_as_another_error(
    preset: str, changes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("config"), CONFIGS[preset] | changes)
    try:
        model = read_huggingface_config(path)
    except ConfigError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert model.total_params > 0
