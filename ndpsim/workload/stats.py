"""What a trace says about its model: skew, distinct experts, reuse between tokens."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ndpsim.units import ceil_div
from ndpsim.workload.trace import DECODE, PREFILL, Trace

WINDOW: Final = 512
"""Tokens over which distinct experts are counted: a common prompt length."""

Values = npt.NDArray[np.float64]


def trace_stats(trace: Trace) -> dict[str, Any]:
    """Figures of a trace: `layers` has one mapping per layer, `mean` their mean over layers.

    hottest_over_mean
        Load of the most chosen expert over the mean load.
    gini
        Gini coefficient of the loads: 0 all alike, towards 1 a single one.
    top_10pct_frac
        Share of all choices that went to the most chosen tenth of the experts.
    distinct_per_512
        Distinct experts in 512 successive rows of the file, mean over whole windows; null if the
        trace is shorter.
    reuse_frac, reuse_chance_frac
        Share of a token's experts that the token before in its sequence chose as well, and what
        independent tokens with the same loads would give.
    prefill_decode_cosine
        Cosine between the loads of a sequence's prefill and of its decode, mean over sequences;
        null if none has both.
    """
    columns = {
        **_skew(loads(trace.experts, trace.info.n_experts)),
        "distinct_per_512": _distinct(trace),
        **_reuse(trace),
        "prefill_decode_cosine": _cosine(trace),
    }
    rows = [
        {"layer": layer, **{name: _at(values, i) for name, values in columns.items()}}
        for i, layer in enumerate(trace.info.layers)
    ]
    mean = {name: None if v is None else float(v.mean()) for name, v in columns.items()}
    return {
        "model": trace.info.model,
        "n_experts": trace.info.n_experts,
        "top_k": trace.info.top_k,
        "n_layers": len(trace.info.layers),
        "n_sequences": len(trace.sequences()),
        "n_tokens": trace.n_tokens,
        "synthetic": trace.info.synthetic,
        "mean": mean,
        "layers": rows,
    }


def loads(experts: npt.NDArray[np.int16], n_experts: int) -> Values:
    """(L, E) how often each expert of each layer was chosen, from (tokens, L, k) ids."""
    n_layers = experts.shape[1]
    shift = np.arange(n_layers, dtype=np.int64)[:, None] * (n_experts + 1) + 1
    keys = (experts + shift).reshape(-1)
    counts = np.bincount(keys, minlength=n_layers * (n_experts + 1))
    return np.asarray(counts.reshape(n_layers, n_experts + 1)[:, 1:], np.float64)


def reuse(experts: npt.NDArray[np.int16]) -> Values:
    """(L,) share of a token's experts that the token before chose as well, from (tokens, L, k)."""
    again, chosen = _repeats(experts)
    return np.asarray(again / np.maximum(chosen, 1), np.float64)


def _repeats(experts: npt.NDArray[np.int16]) -> tuple[Values, Values]:
    """(L,) choices that repeat one of the row before, and all choices but the first row's."""
    before, after = experts[:-1], experts[1:]
    again = np.zeros(experts.shape[1])
    for column in np.moveaxis(after, -1, 0):
        hit = (column[..., None] == before).any(axis=-1) & (column >= 0)
        again += hit.sum(axis=0)
    return again, (after >= 0).sum(axis=(0, 2)).astype(np.float64)


def _at(values: Values | None, index: int) -> float | None:
    return None if values is None else float(values[index])


def _skew(counts: Values) -> dict[str, Values]:
    n_experts = counts.shape[1]
    ordered = np.sort(counts, axis=1)
    total = np.maximum(ordered.sum(axis=1), 1)
    rank = 2 * np.arange(1, n_experts + 1) - n_experts - 1
    hot = ceil_div(n_experts, 10)
    return {
        "hottest_over_mean": ordered[:, -1] * n_experts / total,
        "gini": (ordered * rank).sum(axis=1) / (n_experts * total),
        "top_10pct_frac": ordered[:, -hot:].sum(axis=1) / total,
    }


def _distinct(trace: Trace) -> Values | None:
    edges = range(0, trace.n_tokens + 1, WINDOW)
    windows = [trace.experts[a:b] for a, b in pairwise(edges)]
    if not windows:
        return None
    n_experts = trace.info.n_experts
    counts = [(loads(w, n_experts) > 0).sum(axis=1) for w in windows]
    return np.asarray(np.mean(counts, axis=0), np.float64)


def _reuse(trace: Trace) -> dict[str, Values | None]:
    n_layers = len(trace.info.layers)
    again, chosen = np.zeros(n_layers), np.zeros(n_layers)
    for start, stop in _runs(trace):
        repeats = _repeats(trace.experts[start:stop])
        again, chosen = again + repeats[0], chosen + repeats[1]
    if not chosen.any():
        return {"reuse_frac": None, "reuse_chance_frac": None}
    counts = loads(trace.experts, trace.info.n_experts)
    total = np.maximum(counts.sum(axis=1), 1)
    return {
        "reuse_frac": again / np.maximum(chosen, 1),
        "reuse_chance_frac": (counts**2).sum(axis=1) / (total * trace.n_tokens),
    }


def _runs(trace: Trace) -> list[tuple[int, int]]:
    """Token ranges of one sequence with successive positions."""
    together = np.diff(trace.position.astype(np.int64)) == 1
    together &= trace.sequence[1:] == trace.sequence[:-1]
    edges = [0, *(np.flatnonzero(~together) + 1).tolist(), trace.n_tokens]
    return list(pairwise(edges))


def _cosine(trace: Trace) -> Values | None:
    found = []
    for start, stop in trace.bounds().values():
        experts, phase = trace.experts[start:stop], trace.phase[start:stop]
        parts = [loads(experts[phase == p], trace.info.n_experts) for p in (PREFILL, DECODE)]
        lengths = [np.linalg.norm(part, axis=1) for part in parts]
        if all(length.all() for length in lengths):
            found.append((parts[0] * parts[1]).sum(axis=1) / (lengths[0] * lengths[1]))
    return np.mean(found, axis=0) if found else None
