"""A lower bound of the time any exact scheduler needs on this machine.

Given the routing that is executed, the number formats and the placement's homes, any schedule must
(1) run attention, router, shared experts and combine on the GPU; (2) compute each active expert on
the GPU or near its data, in any fractional split; (3) bring an expert's weights over the links at
least once before the GPU may compute it, all transfers of the request sharing the links' bandwidth.
Decisions, commands and activations cost nothing, and any transfer may be known from the start.

For a stage with GPU share x_e of expert e, GPU work g_e and near work n_e, every w in [0, 1] gives

    t >= w (shared + sum g_e x_e) + (1 - w) sum n_e (1 - x_e) + combine

(linear-programming duality of the makespan). Summed over stages, the x appear with savings
v = max(0, (1 - w) n_e - w g_e) per use. A share x of an expert needs a share x of its weights
moved, and N transfers can serve no more than all uses of the N experts with most savings. The total
T thus obeys T >= base - savings(T / transfer time), whose least solution is found by bisection. The
bound is the best over scalings of the per-stage optimal w.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndpsim import gpu
from ndpsim.memo import Memo
from ndpsim.ndp import flop_per_s, memory_bytes_per_s
from ndpsim.system.machine import Machine
from ndpsim.system.stage import combine_operator, expert_work, gpu_ps
from ndpsim.units import PS_PER_S
from ndpsim.workload import Operator, expert_bytes, expert_flop, shared_operators

SCALES = np.array([[0.0], [0.25], [0.5], [0.75], [1.0]])
"""Tried multiples of the per-stage optimal GPU weight w."""


@dataclass(frozen=True, slots=True)
class _StageTerms:
    """A stage's part of the bound for each scale: its base, and savings per token count."""

    base_ps: NDArray[np.float64]
    saved_ps: NDArray[np.float64]
    """(n_scales, n_active), in the order of the stage's token counts."""


class Bound:
    """Accumulates the expert stages of a request, then solves for the bound.

    `near` tells whether the units that hold the experts can compute them.
    """

    def __init__(self, memo: Memo, machine: Machine, *, near: bool) -> None:
        self._memo = memo
        self._machine = machine
        self._near = near
        n_all = machine.model.n_moe_layers * machine.model.n_experts
        self._saved_ps = np.zeros((len(SCALES), n_all))
        self._used = np.zeros(n_all, dtype=bool)
        self._base_ps = np.zeros(len(SCALES))
        self._terms: dict[tuple[int, bytes], _StageTerms] = {}
        self._expert_ps: dict[int, tuple[float, float, float]] = {}

    def add(self, routed: NDArray[np.int16]) -> None:
        """Add one step's expert stages; `routed` is (n_tokens, n_moe_layers, top_k) ids."""
        n_tokens, n_layers, top_k = routed.shape
        n_experts = self._machine.model.n_experts
        index = np.arange(n_layers)[None, :, None] * n_experts + routed
        if n_tokens == 1 and routed.min() >= 0:  # every layer runs top_k experts of one token
            terms = self._stage_terms(1, np.ones(top_k, dtype=np.int64))
            self._base_ps += n_layers * terms.base_ps
            self._saved_ps[:, index[0].ravel()] += np.tile(terms.saved_ps, n_layers)
            self._used[index[0].ravel()] = True
            return
        counts = np.bincount(index[routed >= 0], minlength=n_layers * n_experts)
        for layer in range(n_layers):
            row = counts[layer * n_experts : (layer + 1) * n_experts]
            active = np.flatnonzero(row)
            terms = self._stage_terms(n_tokens, row[active])
            self._base_ps += terms.base_ps
            self._saved_ps[:, layer * n_experts + active] += terms.saved_ps
            self._used[layer * n_experts + active] = True

    def solve_ps(self, gpu_only_ps: int) -> int:
        """The bound of the whole request, given the time of all stages that are GPU only."""
        transfer_ps = self._transfer_ps()
        if not self._near:
            compulsory_ps = transfer_ps * int(self._used.sum())
            return int(max(gpu_only_ps + self._base_ps[0], compulsory_ps))
        return max(
            _least_total_ps(gpu_only_ps + base_ps, np.sort(saved_ps)[::-1], transfer_ps)
            for base_ps, saved_ps in zip(self._base_ps, self._saved_ps, strict=True)
        )

    def _stage_terms(self, n_tokens: int, counts: NDArray[np.int64]) -> _StageTerms:
        key = (n_tokens, counts.tobytes())
        if key not in self._terms:
            self._terms[key] = self._new_terms(n_tokens, counts)
        return self._terms[key]

    def _new_terms(self, n_tokens: int, counts: NDArray[np.int64]) -> _StageTerms:
        machine = self._machine
        shared = shared_operators(machine.model, machine.formats, n_tokens)
        shared_ps = float(gpu_ps(self._memo, machine, shared))
        combine = combine_operator(machine, n_tokens, n_tokens)
        combine_ps = float(gpu_ps(self._memo, machine, (combine,)))
        on_gpu, memory, flop = np.array([self._least_ps(int(n)) for n in counts]).T
        if not self._near:
            base = np.full(len(SCALES), shared_ps + on_gpu.sum() + combine_ps)
            return _StageTerms(base, np.zeros((len(SCALES), len(counts))))
        near, best_w = max(
            ((near, *_best_weight(shared_ps, on_gpu, near)) for near in (memory, flop)),
            key=lambda candidate: candidate[1],
        )[::2]
        w = SCALES * best_w
        base = w[:, 0] * shared_ps + (1 - w[:, 0]) * near.sum() + combine_ps
        return _StageTerms(base, np.maximum(0.0, (1 - w) * near - w * on_gpu))

    def _least_ps(self, n_tokens: int) -> tuple[float, float, float]:
        """(on the GPU, near by memory, near by compute): least time of one expert, all units on it.

        Memory and compute of different experts may overlap near data, so a stage's near work is
        either all memory time or all compute time, whichever bounds better.
        """
        if n_tokens not in self._expert_ps:
            machine = self._machine
            ndp, weight = machine.system.ndp.unit, machine.formats.expert
            n_units = machine.system.ndp.count
            n_bytes = expert_bytes(machine.model, weight)
            n_flop = expert_flop(machine.model, n_tokens)
            on_gpu = sum(_roofline_ps(machine, op) for op in expert_work(machine, n_tokens))
            self._expert_ps[n_tokens] = (
                on_gpu,
                n_bytes * PS_PER_S / (n_units * memory_bytes_per_s(ndp)) if self._near else 0.0,
                n_flop * PS_PER_S / (n_units * flop_per_s(ndp, weight)) if self._near else 0.0,
            )
        return self._expert_ps[n_tokens]

    def _transfer_ps(self) -> float:
        """Least link time of one expert: on each resource, that of the home that loads it least."""
        capacity = self._machine.capacity
        loads: list[dict[str, int]] = []
        for copies in self._machine.copies:
            load: dict[str, int] = {}
            for copy in copies:
                for resource in copy.route:
                    load[resource] = load.get(resource, 0) + copy.n_bytes
            loads.append(load)
        return max(
            min(load.get(resource, 0) for load in loads) * PS_PER_S / capacity[resource]
            for resource in capacity
        )


def _roofline_ps(machine: Machine, operator: Operator) -> float:
    """What the GPU needs at least: the operator's FLOP or its bytes at the highest rates."""
    spec = machine.system.gpu
    flop_per_s_ = gpu.peak_flop_per_s(spec, machine.formats.activation.name)
    seconds = max(operator.flop / flop_per_s_, operator.n_bytes / gpu.memory_bytes_per_s(spec))
    return seconds * PS_PER_S


def _best_weight(
    shared_ps: float, on_gpu: NDArray[np.float64], near: NDArray[np.float64]
) -> tuple[float, float]:
    """(bound, w): the best w when every expert may be on the GPU already.

    The bound is concave and piecewise linear in w; its breakpoints are tried.
    """
    w = np.unique(np.concatenate([[0.0, 1.0], near / (near + on_gpu)]))
    value = w * shared_ps + np.minimum(np.outer(w, on_gpu), np.outer(1 - w, near)).sum(axis=1)
    best = int(np.argmax(value))
    return float(value[best]), float(w[best])


def _least_total_ps(base_ps: float, saved_ps: NDArray[np.float64], transfer_ps: float) -> int:
    """Least T with T >= base - savings of the first T / transfer experts (savings descending)."""
    total = np.concatenate([[0.0], np.cumsum(saved_ps)])
    low, high = base_ps - total[-1], base_ps
    for _ in range(64):
        middle = (low + high) / 2
        n_moved = middle / transfer_ps if transfer_ps else float(len(saved_ps))
        savings = np.interp(n_moved, np.arange(len(total)), total)
        if middle >= base_ps - savings:
            high = middle
        else:
            low = middle
    return int(low)
