"""Synthetic routing, for when no real trace is at hand. Always labelled as such.

Two levels of skew and a memory of the last token. Per layer, shares ``p ~ Dirichlet(alpha)`` of a
corpus; per request, a redraw ``q ~ Dirichlet(c p)`` that is far more skewed; per token, each expert
of the token before stays with some probability and the rest is drawn from q without replacement.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ndpsim.spec.model import Frac, Spec
from ndpsim.workload.spec import ModelSpec
from ndpsim.workload.stats import loads, reuse
from ndpsim.workload.trace import DECODE, PREFILL, Trace, TraceInfo

Experts = npt.NDArray[np.int16]
Shares = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_STEPS_PER_BLOCK: Final = 64
_SHARE_FLOOR: Final = 1e-9
"""No expert is impossible: a token always finds top_k different ones."""


class SyntheticSpec(Spec):
    """Statistics of synthetic routing.

    Defaults describe a fine-grained model of the Qwen3-30B-A3B kind.
    """

    corpus_alpha: float = Field(default=3.8, gt=0, le=1e6, strict=False)
    """Dirichlet concentration per expert of a layer's shares over a corpus. Larger is more even.

    Source: deviation of activation frequencies over 11 domains, arXiv 2505.16056; derived from it:
    3.8 Qwen3-30B-A3B, 6.0 Phi-3.5-MoE, 3.3 OLMoE, 75 Mixtral-8x7B, 15.8 DeepSeek-V2-Lite.
    """
    request_alpha: float = Field(default=0.45, gt=0, le=1e6, strict=False)
    """Concentration per expert of one request's shares around the corpus shares.

    At 0.45, 512 tokens of a 128-expert top-8 model load the hottest expert 7.2 times the mean;
    7.1 to 7.3 is reported for Qwen3-30B-A3B on mathematics and code (calibrated). A model with few
    experts needs a larger value: the hottest of 8 with top-2 cannot exceed 4 times the mean.
    """
    reuse_frac: Frac = 0.47
    """Share of a token's experts that the token before chose as well.

    Source: 0.46 to 0.50 reported for fine-grained models (OLMoE, Qwen3-30B-A3B, gpt-oss-20b);
    Mixtral-8x7B, first choice: 0.14 to 0.28 (arXiv 2401.04088, table 5). Less with shared experts:
    0.27 DeepSeek-V2-Lite, 0.13 Qwen1.5-MoE (counted with `trace_stats` on public traces). Shares
    that repeat more than this by themselves are left as they are.
    """


def synthesize(
    model: ModelSpec,
    spec: SyntheticSpec,
    *,
    n_sequences: int,
    n_tokens: int,
    seed: int,
    prompt_tokens: int | None = None,
) -> Trace:
    """A trace of `n_sequences` requests of `n_tokens` positions each.

    A request depends on the seed and its number only, not on how many others there are. Positions
    from `prompt_tokens` on (default: none) are marked as decoded.
    """
    n_layers, n_experts = model.n_moe_layers, model.n_experts
    roots = np.random.SeedSequence(seed).spawn(n_sequences + 1)
    corpus_rng, *rngs = (np.random.default_rng(root) for root in roots)
    corpus = corpus_rng.dirichlet(np.full(n_experts, spec.corpus_alpha), size=n_layers)
    shares = np.stack([_redraw(rng, corpus, spec.request_alpha) for rng in rngs])
    nobody = np.full((n_sequences, n_layers, model.top_k), -1, np.int16)
    keep = keep_frac(shares, model.top_k, spec.reuse_frac)
    experts = _walk(rngs, shares, keep, nobody, n_tokens)
    position = np.tile(np.arange(n_tokens, dtype=np.uint32), n_sequences)
    decoded = position >= (n_tokens if prompt_tokens is None else prompt_tokens)
    return Trace(
        _info(model, spec, seed),
        np.repeat(np.arange(n_sequences, dtype=np.uint32), n_tokens),
        position,
        np.where(decoded, DECODE, PREFILL).astype(np.uint8),
        experts.reshape(-1, n_layers, model.top_k),
    )


def continue_routing(
    experts: Experts, n_experts: int, n_tokens: int, seed: np.random.SeedSequence
) -> Experts:
    """More tokens of a sequence, drawn from its own loads and with its own reuse.

    Parameters
    ----------
    experts
        (n, L, k) int16, the real tokens, n >= 1.

    Returns
    -------
    (n_tokens, L, k) int16
    """
    shares = loads(experts, n_experts) + 1 / n_experts
    shares = (shares / shares.sum(axis=-1, keepdims=True))[None]
    top_k = experts.shape[-1]
    repeated = reuse(experts).mean() if len(experts) > 1 else 0.0
    keep = keep_frac(shares, top_k, float(repeated))
    rng = np.random.default_rng(seed)
    following: Experts = _walk([rng], shares, keep, experts[-1:], n_tokens)[0]
    return following


def keep_frac(shares: Shares, top_k: int, reuse_frac: float) -> Shares:
    """Probability that an expert stays, so that the reuse comes out as asked.

    An expert that did not stay also returns by being among the ``k (1 - keep)`` drawn afresh; that
    part is taken off. Shape: that of `shares` without its last axis.
    """
    before = _inclusion(shares, np.full(shares.shape[:-1], float(top_k)))
    keep = np.zeros(shares.shape[:-1])
    for _ in range(3):
        drawn = _inclusion(shares, top_k * (1 - keep))
        chance = (before * drawn).sum(axis=-1) / top_k
        keep = np.clip((reuse_frac - chance) / np.maximum(1 - chance, 1e-9), 0, 1)
    return keep


def _inclusion(shares: Shares, n_drawn: Shares) -> Shares:
    """Probability of each expert to be among `n_drawn` draws without replacement.

    Rosén's approximation, ``1 - exp(-t share)`` with t such that the probabilities add up to
    n_drawn (Annals of Mathematical Statistics 43, 1972); t is found by bisection.
    """
    enough = np.minimum(n_drawn, shares.shape[-1] * (1 - 1e-6))[..., None]
    low, high = np.zeros_like(enough), np.full_like(enough, 20 / _SHARE_FLOOR)
    for _ in range(25):
        middle = np.sqrt(np.maximum(low, 1e-3) * high)
        short = -np.expm1(-middle * shares).sum(axis=-1, keepdims=True) < enough
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray(-np.expm1(-high * shares), np.float64)


def _redraw(rng: np.random.Generator, corpus: Shares, alpha: float) -> Shares:
    n_experts = corpus.shape[-1]
    drawn = rng.standard_gamma(alpha * n_experts * corpus) + _SHARE_FLOOR
    return np.asarray(drawn / drawn.sum(axis=-1, keepdims=True), np.float64)


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Independent draws from the shares of every row, for blocks of steps."""

    rngs: list[np.random.Generator]
    edges: Shares
    """(rows x E,) cumulative shares, row r shifted by r."""
    shape: tuple[int, int, int]
    """Sequences, layers, experts."""
    n_draws: int

    def uniform(self, n_steps: int, n_columns: int) -> Shares:
        """(steps, rows, columns), each sequence from its own generator."""
        n_layers = self.shape[1]
        blocks = [rng.random((n_steps, n_layers, n_columns)) for rng in self.rngs]
        return np.concatenate(blocks, axis=1)

    def draws(self, n_steps: int) -> Experts:
        """(steps, rows, draws) expert ids, drawn with replacement."""
        n_experts, n_rows = self.shape[2], self.shape[0] * self.shape[1]
        row = np.arange(n_rows)[:, None]
        at = np.searchsorted(self.edges, self.uniform(n_steps, self.n_draws) + row, side="right")
        return np.asarray(np.minimum(at - row * n_experts, n_experts - 1), np.int16)


def _walk(
    rngs: list[np.random.Generator], shares: Shares, keep: Shares, last: Experts, n_tokens: int
) -> Experts:
    """(sequences, n_tokens, L, k) experts that follow the tokens `last` (sequences, L, k)."""
    n_sequences, n_layers, n_experts = shares.shape
    n_rows, top_k = n_sequences * n_layers, last.shape[-1]
    cumulative = np.cumsum(shares.reshape(n_rows, n_experts), axis=1)
    cumulative /= cumulative[:, -1:]
    edges = (cumulative + np.arange(n_rows)[:, None]).reshape(-1)
    sampler = _Sampler(rngs, edges, shares.shape, top_k + 6)
    result = np.empty((n_tokens, n_rows, top_k), np.int16)
    before, weights = last.reshape(n_rows, top_k), shares.reshape(n_rows, n_experts)
    for start in range(0, n_tokens, _STEPS_PER_BLOCK):
        n_steps = min(_STEPS_PER_BLOCK, n_tokens - start)
        stays = sampler.uniform(n_steps, top_k) < keep.reshape(n_rows, 1)
        draws = sampler.draws(n_steps)
        fresh = ~_seen_before(draws)
        for step in range(n_steps):
            candidates, taken = _next_token(before, stays[step], draws[step], fresh[step])
            for row in np.flatnonzero(taken.sum(axis=1) < top_k):
                rng = rngs[row // n_layers]
                _complete(rng, weights[row], candidates[row], taken[row], top_k)
            before = candidates[taken].reshape(n_rows, top_k)
            result[start + step] = before
    split = result.reshape(n_tokens, n_sequences, n_layers, top_k)
    return np.ascontiguousarray(split.transpose(1, 0, 2, 3))


def _seen_before(draws: Experts) -> Mask:
    """Which draws repeat an earlier one of the same row."""
    columns = np.ascontiguousarray(np.moveaxis(draws, -1, 0))
    seen = np.zeros(columns.shape, np.bool_)
    for b in range(1, len(columns)):
        for a in range(b):
            seen[b] |= columns[a] == columns[b]
    return np.ascontiguousarray(np.moveaxis(seen, 0, -1))


def _next_token(before: Experts, stays: Mask, draws: Experts, fresh: Mask) -> tuple[Experts, Mask]:
    """Candidates of every row and which k of them are taken: those that stay, then fresh draws.

    A row that runs out of fresh draws has fewer than k.
    """
    stays = stays & (before >= 0)
    kept = np.where(stays, before, np.int16(-1))
    fresh = fresh & ~(draws[:, :, None] == kept[:, None, :]).any(axis=-1)
    taken = np.concatenate((stays, fresh), axis=1)
    taken &= np.cumsum(taken, axis=1, dtype=np.int16) <= before.shape[1]
    return np.concatenate((before, draws), axis=1), taken


def _complete(
    rng: np.random.Generator, shares: Shares, candidates: Experts, taken: Mask, top_k: int
) -> None:
    """Go on drawing for one row until it has k experts; the row is changed in place.

    The order of exponential times with the shares as rates is the order of draws without
    replacement.
    """
    chosen = candidates[taken]
    times = rng.standard_exponential(len(shares)) / shares
    times[chosen] = np.inf
    candidates[:top_k] = np.concatenate((chosen, np.argsort(times)[: top_k - len(chosen)]))
    taken[:] = np.arange(len(taken)) < top_k


def _info(model: ModelSpec, spec: SyntheticSpec, seed: int) -> TraceInfo:
    provenance: dict[str, Any] = {
        "about": "synthetic routing; no model chose these experts",
        "generator": "two-level Dirichlet shares with reuse of the token before",
        "seed": seed,
        **spec.model_dump(),
    }
    return TraceInfo(model.name, model.n_experts, model.top_k, model.moe_layers, True, provenance)
