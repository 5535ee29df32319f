"""Prefill and decode of a batch with the routing of every token recorded."""
# ruff: noqa: TID253  (this submodule is never imported unless a model is at hand)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ndpsim.capture.hooks import RouterTap
from ndpsim.workload.trace import DECODE, PREFILL, Trace, TraceInfo


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How decoded tokens are drawn."""

    decode_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 0.95
    seed: int = 1
    forbidden: tuple[int, ...] = ()  # token ids never drawn: end of text would end a sequence early


@dataclass(frozen=True)
class Routed:
    """A captured batch of B sequences of T tokens each.

    tokens (B, T) int64: prompt, then decoded; ids (B, T, layers, k) int16; weights likewise
    float16. Row t belongs to the token that enters the model at position t, so the last decoded
    token is fed as well.
    """

    tokens: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    layers: tuple[int, ...]
    prompt_tokens: int


def draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> torch.Tensor:
    """One token per row of (batch, vocabulary) logits: temperature, then nucleus."""
    logits = logits.float()
    logits[:, list(sampling.forbidden)] = -torch.inf
    probs, order = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True)
    probs[probs.cumsum(-1) - probs > sampling.top_p] = 0.0
    return order.gather(1, torch.multinomial(probs, 1, generator=generator))


def capture(model: Any, prompts: np.ndarray, sampling: Sampling) -> Routed:
    """Run prompts of equal length (batch, prompt tokens) and decode, recording all routing."""
    batch, prompt_tokens = prompts.shape
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens = torch.from_numpy(prompts.astype(np.int64))
    fed, cache, parts = tokens, None, []
    model.eval()
    with torch.no_grad(), RouterTap(model) as tap:
        for _ in range(sampling.decode_tokens + 1):
            output = model(input_ids=fed, past_key_values=cache, use_cache=True, logits_to_keep=1)
            parts.append(tap.take(batch))
            cache = output.past_key_values
            fed = draw(output.logits[:, -1], sampling, generator)
            tokens = torch.cat([tokens, fed], dim=1)
        layers = tap.layers
    ids, weights = (np.concatenate([part[i] for part in parts], axis=1) for i in (0, 1))
    return Routed(tokens[:, :-1].numpy(), ids, weights, layers, prompt_tokens)


def looping(decoded: np.ndarray, window: int = 128, least: int = 16) -> np.ndarray:
    """Which sequences of (batch, tokens) decoded ids repeat themselves.

    A sequence loops if some window of successive tokens holds fewer than `least` different ones.
    """
    starts = range(0, decoded.shape[1] - window + 1, window // 2)
    distinct = [[len(np.unique(row[s : s + window])) for s in starts] for row in decoded]
    return np.array([min(counts, default=least) < least for counts in distinct])


def trace_of(routed: Routed, model_name: str, n_experts: int, provenance: dict[str, Any]) -> Trace:
    """Return the trace of a captured batch: sequence b is row b."""
    batch, length, _, k = routed.ids.shape
    position = np.tile(np.arange(length, dtype=np.uint32), batch)
    info = TraceInfo(
        model=model_name,
        n_experts=n_experts,
        top_k=k,
        layers=routed.layers,
        synthetic=False,
        provenance=provenance,
    )
    return Trace(
        info,
        sequence=np.repeat(np.arange(batch, dtype=np.uint32), length),
        position=position,
        phase=np.where(position < routed.prompt_tokens, PREFILL, DECODE).astype(np.uint8),
        experts=routed.ids.reshape(batch * length, -1, k),
        weights=routed.weights.reshape(batch * length, -1, k),
    )
