"""A layer's routed experts as a few kernels over all of them, as GPU libraries run them.

`expert_operators` describes one expert alone; here one grouped product serves every expert that has
tokens, with the kernels around it: sorting tokens by expert, narrowing activations, the activation
function and the weighted sum.
"""

from ndpsim.workload.layers import ACTIVATION_FLOP
from ndpsim.workload.operators import Elementwise, Format, GroupedGemm

GroupedOperators = tuple[GroupedGemm | Elementwise, ...]

QUANTIZE_FLOP = 4
"""FLOP per element to narrow a format: absolute, maximum, scale, convert."""


def quantize_operator(name: str, n_elements: int, wide: Format, narrow: Format) -> Elementwise:
    """Activations in `wide`, read for the scale and again for the values, written in `narrow`."""
    n_written = n_elements * narrow.bits // wide.bits
    return Elementwise(name, 2 * n_elements, n_written, QUANTIZE_FLOP * n_elements, wide)


def grouped_operators(
    tokens: tuple[int, ...],
    d_model: int,
    d_expert: int,
    *,
    weight: Format,
    activation: Format,
    compute: Format | None = None,
    n_tokens: int | None = None,
    n_pairs: int | None = None,
) -> GroupedOperators:
    """Gated experts over their tokens.

    Parameters
    ----------
    tokens
        Rows of each expert that has any.
    d_expert
        Columns of gate and of up each.
    compute
        Format the products run in, if activations are narrowed to it first.
    n_tokens
        Tokens that enter and leave; by default as many as rows.
    n_pairs
        Rows that the kernels between the products handle; more than `tokens` sum to where experts
        of other devices keep their places.
    """
    rows, narrow = sum(tokens), compute or activation
    pairs = rows if n_pairs is None else n_pairs
    entering = rows if n_tokens is None else n_tokens
    first: tuple[Elementwise, ...] = ()
    second: tuple[Elementwise, ...] = ()
    if narrow != activation:
        first = (quantize_operator("expert_quantize", rows * d_model, activation, narrow),)
        second = (quantize_operator("expert_requantize", rows * d_expert, activation, narrow),)
    return (
        Elementwise("expert_sort", 2 * pairs, 2 * pairs, flop=4 * pairs, activation=activation),
        *first,
        GroupedGemm("expert_up", tokens, 2 * d_expert, d_model, weight, narrow),
        Elementwise(
            "expert_activation",
            n_read=2 * pairs * d_expert,
            n_written=pairs * d_expert,
            flop=ACTIVATION_FLOP * pairs * d_expert,
            activation=activation,
        ),
        *second,
        GroupedGemm("expert_down", tokens, d_model, d_expert, weight, narrow),
        Elementwise(
            "expert_combine",
            n_read=pairs * d_model,
            n_written=entering * d_model,
            flop=2 * pairs * d_model,
            activation=activation,
        ),
    )
