"""Capture routing of the trained shrunk model on held-out prompts.

    python -m ndpsim.capture.run TRAIN_DIR traces/qwen3-moe-shrunk.parquet

Prompts are the first tokens of documents that training never saw, the same number from each domain
of text; decoded tokens are sampled by the model itself.
"""
# ruff: noqa: TID253  (this submodule is never imported unless a model is at hand)

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from ndpsim.capture.generate import Routed, Sampling, capture, looping, trace_of
from ndpsim.capture.shrunk import load_model
from ndpsim.capture.text import Document, documents
from ndpsim.workload.stats import loads
from ndpsim.workload.trace import write_trace

log = logging.getLogger(__name__)

MODEL_NAME = "qwen3-moe-shrunk"
LICENCE = "Apache-2.0"
WEIGHT_STEPS = 256


def held_out_prompts(
    texts: list[Document], tokenizer: Tokenizer, n: int, length: int
) -> list[tuple[Document, list[int]]]:
    """Openings of held-out documents, domains in turn, each `length` tokens long.

    Within a domain documents come in the order of a hash of their name, not of the alphabet.
    """
    by_domain: dict[str, list[tuple[Document, list[int]]]] = {}
    for document in sorted(texts, key=lambda d: hashlib.sha256(d.name.encode()).digest()):
        if document.held_out:
            ids = tokenizer.encode(document.text[: 16 * length]).ids
            if len(ids) >= length:
                by_domain.setdefault(document.domain, []).append((document, ids[:length]))
    turns = max(map(len, by_domain.values()), default=0)
    prompts = [
        found[turn]
        for turn in range(turns)
        for _, found in sorted(by_domain.items())
        if turn < len(found)
    ]
    if len(prompts) < n:
        raise SystemExit(f"{n} held-out prompts of {length} tokens wanted, {len(prompts)} found")
    return prompts[:n]


def loss_curve(directory: Path, last_step: int, points: int = 14) -> list[dict[str, Any]]:
    """About `points` rows of the training log up to a step, first and last among them."""
    rows = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    by_step = {row["step"]: row for row in rows}  # a resumed run repeats steps
    rows = [by_step[step] for step in sorted(by_step) if step <= last_step]
    picks = np.unique(np.linspace(0, len(rows) - 1, points).round().astype(int))
    return [
        {key: rows[i][key] for key in ("step", "tokens", "lr", "loss", "held_out_loss", "skew")}
        for i in picks
    ]


def rounded(weights: np.ndarray) -> np.ndarray:
    """Router weights to the nearest 1/256, so that the committed file stays small."""
    steps = np.round(weights.astype(np.float32) * WEIGHT_STEPS)
    return (steps / WEIGHT_STEPS).astype(np.float16)


def layer_skew(routed: Routed, n_experts: int) -> list[float]:
    """Hottest expert's load over the mean load, by layer, over all captured tokens."""
    counts = loads(routed.ids.reshape(-1, *routed.ids.shape[2:]), n_experts)
    skew: list[float] = (counts.max(axis=1) / counts.mean(axis=1)).round(2).tolist()
    return skew


def provenance(
    directory: Path,
    model: Any,
    routed: Routed,
    sampling: Sampling,
    sources: list[Document],
    note: str = "",
) -> dict[str, Any]:
    """What the trace's metadata says about where it comes from."""
    settings = json.loads((directory / "settings.json").read_text())
    config = model.config
    keys = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "num_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "norm_topk_prob",
        "vocab_size",
        "tie_word_embeddings",
        "max_position_embeddings",
    )
    return {
        "licence": LICENCE,
        "about": "routing of a width-shrunk Qwen3-MoE trained from scratch; the routing geometry "
        "is that of Qwen3-30B-A3B, the choices are this small model's own",
        "model": {
            "class": type(model).__name__,
            "parameters": model.num_parameters(),
            "config": {key: getattr(config, key) for key in keys},
        },
        "training": {
            "settings": settings,
            "text": json.loads((directory / "text.json").read_text()),
            "loss": "cross-entropy in nats per token, plus balance_coef (later "
            "late_balance_coef) x the load-balancing loss of each layer, summed over layers",
            "curve": loss_curve(directory, settings["step"]),
            "note": note,
        },
        "capture": {
            "sequences": len(sources),
            "prompt_tokens": routed.prompt_tokens,
            "decode_rows": sampling.decode_tokens,
            "sampling": vars(sampling),
            "dtype": str(model.dtype).removeprefix("torch."),
            "prompts": [d.name for d in sources],
            "weights": "router probabilities renormalized over the chosen experts, rounded "
            f"to 1/{WEIGHT_STEPS}",
            "order": "experts by descending weight",
            "hottest_over_mean_by_layer": layer_skew(routed, config.num_experts),
        },
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers", "tokenizers", "numpy")
        },
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ndpsim.capture.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, help="where ndpsim.capture.train left its model")
    parser.add_argument("trace", type=Path, help="Parquet file to write")
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--decode-tokens", type=int, default=Sampling.decode_tokens)
    parser.add_argument("--seed", type=int, default=Sampling.seed)
    parser.add_argument("--note", default="", help="kept in the trace beside the loss curve")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    model, tokenizer = load_model(args.directory)
    chosen = held_out_prompts(list(documents()), tokenizer, args.sequences, args.prompt_tokens)
    sampling = Sampling(
        decode_tokens=args.decode_tokens, seed=args.seed, forbidden=(model.config.eos_token_id,)
    )
    routed = capture(model, np.array([ids for _, ids in chosen]), sampling)
    loops = looping(routed.tokens[:, args.prompt_tokens :])
    if loops.any():
        raise SystemExit(f"sequences {np.flatnonzero(loops).tolist()} loop; try another --seed")
    routed = replace(routed, weights=rounded(routed.weights))
    for (document, _), tokens in zip(chosen, routed.tokens, strict=True):
        text = tokenizer.decode(tokens[args.prompt_tokens :][:60].tolist())
        log.info("%s ... %r", document.name, text)
    about = provenance(args.directory, model, routed, sampling, [d for d, _ in chosen], args.note)
    write_trace(args.trace, trace_of(routed, MODEL_NAME, model.config.num_experts, about))
    log.info("%s: %d bytes", args.trace, args.trace.stat().st_size)


if __name__ == "__main__":
    main()
