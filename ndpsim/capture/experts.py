"""Experts of a gated MoE layer, computed expert by expert on tokens sorted by expert.

Mathematically what transformers' own expert modules compute, arranged for training on CPU cores:
one sort, one matrix product per expert and projection into preallocated buffers, and a backward
that recomputes nothing. Registered with transformers as the experts implementation ``sorted``.
"""
# ruff: noqa: TID253  (this submodule is never imported unless a model is at hand)

from __future__ import annotations

from typing import Any

import torch

NAME = "sorted"


_Function: Any = torch.autograd.Function  # untyped, with torch installed or not


class SortedExperts(_Function):  # type: ignore[misc]
    """``y[t] = sum_j weight[t, j] * expert[t, j](x[t])`` for SiLU-gated experts.

    x (tokens, d_model); weight (tokens, k); gate_up (experts, 2 d_expert, d_model), gate rows
    first; down (experts, d_model, d_expert); order (tokens*k,) sorts the flat choices by expert;
    counts: choices per expert.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        gate_up: torch.Tensor,
        down: torch.Tensor,
        order: torch.Tensor,
        counts: list[int],
    ) -> torch.Tensor:
        """Gather, two grouped products with the gate between, scatter."""
        k = weight.shape[1]
        inputs = x.index_select(0, order // k)
        hidden = inputs.new_empty(inputs.shape[0], gate_up.shape[1])
        _grouped_mm(inputs, gate_up.transpose(1, 2), hidden, counts)
        gate, up = hidden.chunk(2, dim=-1)
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        inner = silu * up
        share = weight.reshape(-1).index_select(0, order).unsqueeze(1)
        scaled = inner * share
        outputs = torch.empty_like(inputs)
        _grouped_mm(scaled, down.transpose(1, 2), outputs, counts)
        inverse = _inverse(order)
        ctx.save_for_backward(
            inputs, gate_up, down, up, sigmoid, silu, inner, scaled, share, order, inverse
        )
        ctx.counts, ctx.k = counts, k
        return outputs.index_select(0, inverse).view(x.shape[0], k, -1).sum(1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of x, weight, gate_up and down."""
        (inputs, gate_up, down, up, sigmoid, silu, inner, scaled, share, order, inverse) = (
            ctx.saved_tensors
        )
        counts, k = ctx.counts, ctx.k
        d_outputs = grads[0].index_select(0, order // k)
        d_scaled, d_down = torch.empty_like(scaled), torch.empty_like(down)
        _grouped_mm(d_outputs, down, d_scaled, counts)
        _grouped_outer(d_outputs, scaled, d_down, counts)
        d_weight = (d_scaled * inner).sum(1).index_select(0, inverse).view(-1, k)
        d_inner = d_scaled.mul_(share)
        d_hidden = inputs.new_empty(inputs.shape[0], gate_up.shape[1])
        d_gate, d_up = d_hidden.chunk(2, dim=-1)
        torch.mul(d_inner, silu, out=d_up)
        torch.mul(d_inner.mul_(up), sigmoid + silu * (1 - sigmoid), out=d_gate)
        d_inputs, d_gate_up = torch.empty_like(inputs), torch.empty_like(gate_up)
        _grouped_mm(d_hidden, gate_up, d_inputs, counts)
        _grouped_outer(d_hidden, inputs, d_gate_up, counts)
        d_x = d_inputs.index_select(0, inverse).view(-1, k, inputs.shape[1]).sum(1)
        return d_x, d_weight, d_gate_up, d_down, None, None


def _inverse(order: torch.Tensor) -> torch.Tensor:
    """Return the permutation that undoes `order`."""
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(order.shape[0])
    return inverse


def _grouped_mm(
    rows: torch.Tensor, matrices: torch.Tensor, out: torch.Tensor, counts: list[int]
) -> None:
    """Multiply each expert's rows by its matrix: ``out[e] = rows[e] @ matrices[e]``."""
    for a, b, c in zip(
        torch.split(rows, counts), matrices.unbind(0), torch.split(out, counts), strict=True
    ):
        torch.mm(a, b, out=c)


def _grouped_outer(
    left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, counts: list[int]
) -> None:
    """Weight gradients: ``out[e] = left[e].T @ right[e]``; zero for an expert without rows."""
    for a, b, c in zip(
        torch.split(left, counts), torch.split(right, counts), out.unbind(0), strict=True
    ):
        torch.mm(a.t(), b, out=c)


def sorted_experts_forward(
    experts: Any,
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """Forward of an experts module in transformers' experts interface."""
    flat = top_k_index.reshape(-1)
    order = torch.argsort(flat.to(torch.int16), stable=True)
    counts = torch.bincount(flat, minlength=experts.num_experts).tolist()
    result: torch.Tensor = SortedExperts.apply(
        hidden_states, top_k_weights, experts.gate_up_proj, experts.down_proj, order, counts
    )
    return result


def use_sorted_experts(model: Any) -> None:
    """Switch a transformers model with SiLU-gated experts to this implementation."""
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    ALL_EXPERTS_FUNCTIONS.register(NAME, sorted_experts_forward)
    model.config._experts_implementation = NAME
