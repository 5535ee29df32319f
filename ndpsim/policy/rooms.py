"""How a cache divides the GPU's room among layers."""

from typing import Literal, TypeAlias

from ndpsim.policy.contract import ResidencyView

Scope: TypeAlias = Literal["global", "layer"]
"""One list for the whole GPU, or one per layer; what does not divide goes to the first."""


def divided(view: ResidencyView, scope: Scope, capacity: int) -> list[int]:
    """Room of each list: a single one, or one per MoE layer."""
    if scope == "global":
        return [capacity]
    share, n_larger = divmod(capacity, view.n_moe_layers)
    return [share + (layer < n_larger) for layer in range(view.n_moe_layers)]
