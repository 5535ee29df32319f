"""The width-shrunk Qwen3-MoE: routing geometry of Qwen3-30B-A3B, a thousandth of its width."""
# ruff: noqa: TID253  (this submodule is never imported unless a model is at hand)

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from ndpsim.capture.text import Document

END_OF_TEXT = "<|endoftext|>"


def shrunk_config(vocab_size: int, d_model: int, d_expert: int) -> Any:
    """48 layers, 128 experts, top-8 with renormalized weights as Qwen3-30B-A3B; the rest narrow."""
    config_type: Any = Qwen3MoeConfig
    return config_type(
        vocab_size=vocab_size,
        hidden_size=d_model,
        intermediate_size=2 * d_model,
        moe_intermediate_size=d_expert,
        num_hidden_layers=48,
        num_experts=128,
        num_experts_per_tok=8,
        norm_topk_prob=True,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=1024,
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )


def new_model(config: Any, seed: int) -> Any:
    """Random weights; what writes to the residual stream starts smaller by sqrt(2 layers)."""
    torch.manual_seed(seed)
    model: Any = Qwen3MoeForCausalLM(config)
    shrink = 1 / math.sqrt(2 * config.num_hidden_layers)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(shrink)
            layer.mlp.experts.down_proj.mul_(shrink)
    return model


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE; id 0 ends a document."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return tokenizer


def token_streams(tokenizer: Tokenizer, documents: list[Document]) -> dict[str, np.ndarray]:
    """Tokens of each domain's documents, one after the other: domain -> (tokens,) uint16."""
    streams: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(documents), 256):
        block = documents[start : start + 256]
        for document, encoding in zip(
            block, tokenizer.encode_batch([d.text for d in block]), strict=True
        ):
            streams.setdefault(document.domain, []).append(
                np.array([*encoding.ids, 0], dtype=np.uint16)
            )
    return {domain: np.concatenate(parts) for domain, parts in sorted(streams.items())}


def load_model(directory: Path) -> tuple[Any, Tokenizer]:
    """Return the trained model and its tokenizer from a training directory."""
    model: Any = Qwen3MoeForCausalLM.from_pretrained(directory / "model")
    return model.eval(), Tokenizer.from_file(str(directory / "tokenizer.json"))
