"""Model dimensions from a Hugging Face ``config.json`` on disk.

JSON only: no weights, no code of the repository is touched. Each family spells its fields its own
way; the tables below say which.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from ndpsim.errors import ConfigError, nearest
from ndpsim.workload.spec import MAX_LAYERS, ModelSpec

MAX_CONFIG_BYTES: Final = 1 << 20
"""Real files have a few kilobytes."""

_REQUIRED: Final = object()
"""In place of a default: the key must be there."""

_Fields = dict[str, Any]


def read_huggingface_config(path: Path | str, name: str | None = None) -> ModelSpec:
    """The model described by a ``config.json`` (or by the folder that holds one).

    Raises
    ------
    ConfigError
        Missing, not JSON, of a family not supported, or with dimensions that make no model.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    where = str(path)
    config = _Config(where, _read_json(path))
    family = config.text("model_type")
    if family not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise ConfigError(
            where,
            f"model_type {family!r} is not supported; supported: {known}"
            f"{nearest(family, _FAMILIES)}",
        )
    fields = _FAMILIES[family](config) | {"name": name or _name(config, path)}
    try:
        return ModelSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(where, f"{field or 'model'}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class _Config:
    """Checked access to the fields of a configuration."""

    where: str
    content: _Fields

    def get(self, key: str, kind: type, what: str, default: object) -> Any:
        value = self.content.get(key)
        if value is None:
            if default is not _REQUIRED:
                return default
            raise ConfigError(self.where, f"'{key}' is missing; expected {what}")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(self.where, f"'{key}' must be {what}, not {_shown(value)}")
        return value

    def count(self, key: str, default: object = _REQUIRED) -> Any:
        """An integer from 0 to 2^31, or the default where the key is absent or null."""
        value = self.get(key, int, "a whole number", default)
        if isinstance(value, int) and not 0 <= value < 2**31:
            raise ConfigError(self.where, f"'{key}' must be from 0 to 2^31, not {_shown(value)}")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        return bool(self.get(key, bool, "true or false", default))

    def text(self, key: str) -> str:
        return str(self.get(key, str, "a text", _REQUIRED))[:80]

    def counts(self, key: str) -> list[int]:
        values = self.get(key, list, "a list of layer indices", [])
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise ConfigError(self.where, f"'{key}' must be a list of layer indices")
        return sorted(set(values))


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, dict | list) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}..."


def _read_json(path: Path) -> _Fields:
    where = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
        if len(raw) > MAX_CONFIG_BYTES:
            raise ConfigError(where, f"is larger than {MAX_CONFIG_BYTES} bytes; not a config.json")
        content = json.loads(raw)
    except OSError as error:
        raise ConfigError(where, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, f"is not JSON: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(content, dict):
        raise ConfigError(where, "must be a JSON object")
    return content


def _name(config: _Config, path: Path) -> str:
    given = config.content.get("_name_or_path")
    name = given if isinstance(given, str) and given.strip() else path.resolve().parent.name
    name = name.rstrip("/").rsplit("/", 1)[-1]
    return name if name.isprintable() and name else config.text("model_type")


def _common(config: _Config) -> _Fields:
    return {
        "n_layers": config.count("num_hidden_layers"),
        "d_model": config.count("hidden_size"),
        "vocab": config.count("vocab_size"),
        "top_k": config.count("num_experts_per_tok"),
        "tied_embeddings": config.flag("tie_word_embeddings"),
    }


def _gqa(config: _Config, *, bias: bool = False, output_bias: bool = False) -> _Fields:
    heads = config.count("num_attention_heads")
    head_dim = config.count("head_dim", None)
    if head_dim is None:
        width = config.count("hidden_size")
        if not heads or width % heads:
            raise ConfigError(
                config.where,
                f"'hidden_size' {width} is not a multiple of 'num_attention_heads' {heads}",
            )
        head_dim = width // heads
    return {
        "kind": "gqa",
        "n_heads": heads,
        "n_kv_heads": config.count("num_key_value_heads", heads),
        "head_dim": head_dim,
        "qkv_bias": bias,
        "output_bias": output_bias,
    }


def _mla(config: _Config) -> _Fields:
    return {
        "kind": "mla",
        "n_heads": config.count("num_attention_heads"),
        "kv_lora_rank": config.count("kv_lora_rank"),
        "q_lora_rank": config.count("q_lora_rank", None),
        "qk_nope_head_dim": config.count("qk_nope_head_dim"),
        "qk_rope_head_dim": config.count("qk_rope_head_dim"),
        "v_head_dim": config.count("v_head_dim"),
    }


def _window(config: _Config, *, by_default: bool, every: int = 1) -> _Fields:
    """Layers with a sliding window; a window as long as the longest context is none.

    Where `layer_types` does not say which, every `every`-th layer has it.
    """
    window = config.count("sliding_window", None)
    longest = config.count("max_position_embeddings", None)
    used = config.flag("use_sliding_window", default=by_default)
    if not window or not used or (longest is not None and window >= longest):
        return {}
    kinds = config.get("layer_types", list, "a list of attention kinds", None)
    layers = [*_layers(config)[::every]]
    if kinds is not None:
        layers = [layer for layer, kind in enumerate(kinds) if kind == "sliding_attention"]
    return {"sliding_window": window, "sliding_layers": layers} if layers else {}


def _dense_first(config: _Config) -> _Fields:
    """The first layers dense (DeepSeek, GLM); MoE layers every `moe_layer_freq` after them."""
    n_dense = config.count("first_k_dense_replace", 0)
    every = config.count("moe_layer_freq", 1) or 1
    return _dense(config, [i for i in _layers(config) if i < n_dense or i % every])


def _dense_between(config: _Config) -> _Fields:
    """MoE layers every `decoder_sparse_step`, but those named (Qwen)."""
    named = set(config.counts("mlp_only_layers"))
    every = config.count("decoder_sparse_step", 1) or 1
    return _dense(config, [i for i in _layers(config) if i in named or (i + 1) % every])


def _layers(config: _Config) -> range:
    return range(min(config.count("num_hidden_layers"), MAX_LAYERS))


def _dense(config: _Config, layers: list[int]) -> _Fields:
    if not layers:
        return {}
    return {"dense_layers": layers, "d_dense": config.count("intermediate_size")}


def _shared(config: _Config) -> _Fields:
    n_shared = config.count("n_shared_experts", 0)
    width = n_shared * config.count("moe_intermediate_size")
    return {"n_shared_experts": n_shared, "d_shared": width} if n_shared else {}


def _mixtral(config: _Config) -> _Fields:
    return {
        **_common(config),
        **_window(config, by_default=True),
        "attention": _gqa(config),
        "n_experts": config.count("num_local_experts"),
        "d_expert": config.count("intermediate_size"),
    }


def _phimoe(config: _Config) -> _Fields:
    bias = config.flag("attention_bias")
    return _mixtral(config) | {
        "attention": _gqa(config, bias=bias, output_bias=bias),
        "norm_bias": True,
        "head_bias": config.flag("lm_head_bias"),
    }


def _olmoe(config: _Config) -> _Fields:
    bias = config.flag("attention_bias")
    return {
        **_common(config),
        "attention": _gqa(config, bias=bias, output_bias=bias) | {"qk_norm": "full"},
        "n_experts": config.count("num_experts"),
        "d_expert": config.count("intermediate_size"),
    }


def _qwen2_moe(config: _Config) -> _Fields:
    width = config.count("shared_expert_intermediate_size", 0)
    shared = {"n_shared_experts": 1, "d_shared": width, "shared_gate": True} if width else {}
    return {
        **_common(config),
        **_window(config, by_default=False),
        **_dense_between(config),
        **shared,
        "attention": _gqa(config, bias=config.flag("qkv_bias", default=True)),
        "n_experts": config.count("num_experts"),
        "d_expert": config.count("moe_intermediate_size"),
    }


def _qwen3_moe(config: _Config) -> _Fields:
    bias = config.flag("attention_bias")
    experts = config.count("num_experts", None)
    return {
        **_common(config),
        **_window(config, by_default=False),
        **_dense_between(config),
        "attention": _gqa(config, bias=bias, output_bias=bias) | {"qk_norm": "head"},
        "n_experts": config.count("num_local_experts") if experts is None else experts,
        "d_expert": config.count("moe_intermediate_size"),
    }


def _deepseek(config: _Config) -> _Fields:
    bias = config.flag("attention_bias")
    return {
        **_common(config),
        **_dense_first(config),
        **_shared(config),
        "attention": _gqa(config, bias=bias, output_bias=bias),
        "n_experts": config.count("n_routed_experts"),
        "d_expert": config.count("moe_intermediate_size"),
    }


def _deepseek_v2(config: _Config) -> _Fields:
    return _deepseek(config) | {"attention": _mla(config)}


def _deepseek_v3(config: _Config) -> _Fields:
    return _deepseek_v2(config) | {"router_bias": True}


def _glm4_moe(config: _Config) -> _Fields:
    norm = "head" if config.flag("use_qk_norm") else "none"
    attention = _gqa(config, bias=config.flag("attention_bias")) | {"qk_norm": norm}
    return _deepseek(config) | {"attention": attention, "router_bias": True}


def _gpt_oss(config: _Config) -> _Fields:
    bias = config.flag("attention_bias", default=True)
    return {
        **_mixtral(config),
        **_window(config, by_default=True, every=2),
        "attention": _gqa(config, bias=bias, output_bias=bias) | {"sinks": True},
        "expert_bias": True,
        "router_bias": True,
    }


_FAMILIES: Final[dict[str, Callable[[_Config], _Fields]]] = {
    "mixtral": _mixtral,
    "phimoe": _phimoe,
    "olmoe": _olmoe,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "deepseek": _deepseek,
    "deepseek_v2": _deepseek_v2,
    "deepseek_v3": _deepseek_v3,
    "glm4_moe": _glm4_moe,
    "gpt_oss": _gpt_oss,
}
"""``model_type`` -> how its fields are read."""
