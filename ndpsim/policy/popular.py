"""Which experts are worth a place on the GPU, by how often they are used."""

from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ndpsim.policy.contract import ExpertId, ResidencyView

HowMany: TypeAlias = Annotated[int, Field(gt=0)] | Literal["fit", "adaptive"]
"""Experts per layer, `fit` or `adaptive`.

A number: that many per layer, never more than fit in all; where one per layer is too many, the
first layers get theirs. `fit`: as many as free GPU memory holds for every layer alike. `adaptive`:
in each layer as many as keep the GPU from becoming the slower side, while memory lasts.
"""


def most_used(
    counts: NDArray[np.int64], scores: NDArray[np.float64], how_many: HowMany, view: ResidencyView
) -> list[ExpertId]:
    """Experts to hold, rank by rank over all layers: every favourite before any second choice.

    Parameters
    ----------
    counts
        (n_moe_layers, n_experts), how often each was used; one that never was is not worth loading.
    scores
        Same shape; the order within a layer, ties by the lower expert.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    if how_many == "adaptive":
        limit = _balanced(counts, order, view)
    else:
        each = max(1, view.capacity // view.n_moe_layers) if how_many == "fit" else how_many
        limit = np.full(view.n_moe_layers, each)
    wanted = [
        (layer, int(order[layer, rank]))
        for rank in range(min(int(limit.max(initial=0)), order.shape[1]))
        for layer in range(order.shape[0])
        if rank < limit[layer] and counts[layer, order[layer, rank]] > 0
    ]
    return wanted[: view.capacity]


def _balanced(
    counts: NDArray[np.int64], order: NDArray[np.intp], view: ResidencyView
) -> NDArray[np.int64]:
    """By layer: the number x of residents with the least expected decode time of that layer.

    A share h(x) of the layer's choices falls on the x experts used most, so per choice the GPU
    takes h(x) times one expert's GPU time beside (1 - h(x)) times one expert's time at home; the
    larger of both counts.
    """
    used = np.take_along_axis(counts, order, axis=1).astype(np.float64)
    total = np.maximum(used.sum(axis=1, keepdims=True), 1.0)
    hits = np.cumsum(np.pad(used, ((0, 0), (1, 0))), axis=1) / total
    expected = np.maximum(hits * view.gpu_ps, (1 - hits) * view.home_ps)
    return np.asarray(np.argmin(expected, axis=1), np.int64)
