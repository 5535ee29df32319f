"""Tokens per expert behind the routing names of published MoE measurements."""

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import ConfigError

Loads = NDArray[np.int64]


def expert_loads(
    routing: str,
    n_tokens: int,
    n_experts: int,
    top_k: int,
    *,
    ep: int = 1,
    n_active: int = 0,
    group_limited: bool = False,
) -> tuple[int, ...]:
    """Rows of each expert on the GPU measured, idle experts left out, busiest first.

    `balanced` spreads token-expert pairs evenly (but see `_group_limited`); `forced` does so over
    `n_active` experts; `uniform` draws top_k of all for each token; `power_law_A` gives experts
    loads that follow a power law of exponent A, and measures the expert-parallel rank with most.

    Raises
    ------
    ConfigError
        No such routing.
    """
    pairs = n_tokens * top_k
    local = max(1, n_experts // ep)
    if routing == "forced":
        loads = _even(pairs, n_active)
    elif routing == "balanced" and group_limited:
        loads = _group_limited(n_tokens, n_experts, top_k)[:local]
    elif routing == "balanced":
        loads = _even(-(-pairs // ep), local)
    elif routing == "uniform":
        loads = _uniform(n_tokens, n_experts, top_k)[:local]
    elif routing.startswith("power_law_"):
        loads = _power_law(n_tokens, n_experts, top_k, float(routing.removeprefix("power_law_")))
        ranks = np.random.default_rng(0).permutation(loads).reshape(-1, local)
        loads = ranks[ranks.sum(axis=1).argmax()]
        loads[: -int(loads.sum()) % min(top_k, local)] += 1  # whole tokens
    else:
        raise ConfigError("routing", f"unknown '{routing}'")
    active = np.sort(loads[loads > 0])[::-1]
    return tuple(int(load) for load in active) or (1,)


def _even(pairs: int, n_experts: int) -> Loads:
    loads = np.full(n_experts, pairs // n_experts, dtype=np.int64)
    loads[: pairs % n_experts] += 1
    return loads


def _uniform(n_tokens: int, n_experts: int, top_k: int) -> Loads:
    scores = np.random.default_rng(0).random((n_tokens, n_experts))
    chosen = np.argpartition(scores, top_k - 1, axis=1)[:, :top_k]
    return np.bincount(chosen.ravel(), minlength=n_experts).astype(np.int64)


def _group_limited(n_tokens: int, n_experts: int, top_k: int) -> Loads:
    """Balanced logits seen by a router that chooses half of the groups first (DeepSeek-V3).

    The balanced choice has one expert in each of top_k groups. Only the first half of the groups
    survives the tie between them; half of a token's experts are then lawful ones in these groups,
    the others ties that go to the same few experts every time.
    """
    group, lawful = n_experts // top_k, top_k // 2
    loads = np.zeros((top_k, group), dtype=np.int64)
    loads[:lawful] = _even(n_tokens * lawful, lawful * group).reshape(group, lawful).T
    loads[0, -(top_k - lawful) :] += n_tokens
    return loads.ravel()


def _power_law(n_tokens: int, n_experts: int, top_k: int, exponent: float) -> Loads:
    """Loads at the quantiles of a bounded power law, as aiconfigurator's collectors draw them.

    Bounds are 1 and 0.8 tokens, or 0.01 and 2 when there are no more pairs than experts; what
    rounding adds or leaves is settled on the busiest experts; none serves a token twice. In the
    second case measured traffic is that of about top_k more experts than the draws alone give:
    ties of the router's top-k, which here take one pair each from the busiest.
    """
    pairs = n_tokens * top_k
    low, high = (1.0, 0.8 * n_tokens) if pairs > n_experts else (0.01, 2.0)
    power = 1.0 - exponent
    quantiles = (np.arange(n_experts) + 0.5) / n_experts
    loads = ((high**power - low**power) * quantiles + low**power) ** (1.0 / power)
    rows: Loads = np.rint(loads * (pairs / loads.sum())).astype(np.int64)
    order = np.argsort(-loads)
    rows = np.minimum(rows, n_tokens)
    while (left := pairs - int(rows.sum())) != 0:
        step = 1 if left > 0 else -1
        able = order[(rows < n_tokens)[order] if left > 0 else (rows > 0)[order]]
        rows[able[: abs(left)]] += step
    if pairs <= n_experts:
        _serve_ties(rows, top_k)
    return rows


def _serve_ties(rows: Loads, n_ties: int) -> None:
    """Give up to `n_ties` idle experts one row each, taken from the busiest."""
    for idle in np.flatnonzero(rows == 0)[:n_ties]:
        busiest = rows.argmax()
        if rows[busiest] > 1:
            rows[busiest] -= 1
            rows[idle] = 1
