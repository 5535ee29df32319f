"""A lower bound of the time any exact scheduler needs on this machine.

Given the routing that is executed, the number formats and the placement's homes, any schedule must
(1) run attention, router, shared experts and combine on the GPU; (2) compute each active expert on
the GPU, near its data or on the host CPU, in any fractional split; (3) bring an expert's weights
over the links at least once before the GPU may compute it, all transfers of the request sharing the
links' bandwidth.
Decisions, commands and activations cost nothing, and any transfer may be known from the start.
Where a scheduler fills the GPU before the request arrives, that many experts serve as if moved.

For a stage with GPU share x_e of expert e, GPU work g_e and near work n_e, every w in [0, 1] gives

    t >= w (shared + sum g_e x_e) + (1 - w) sum n_e (1 - x_e) + combine

(linear-programming duality of the makespan), where n_e = min(u unit work, (1 - u) CPU work) for any
u in [0, 1] covers units and CPU at work together. Summed over stages, the x appear with savings
v = max(0, (1 - w) n_e - w g_e) per use. A share x of an expert needs a share x of its weights
moved, so N transfers can serve no more than all uses of the N experts with most savings; and in a
window of steps the GPU cannot serve more experts than it has room for, plus those transferred in
the window. The total T thus obeys T >= base - savings(T / transfer time), whose least solution is
found by bisection. The bound is the best over scalings of the per-stage optimal w.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndpsim import cpu, gpu
from ndpsim.memo import Memo
from ndpsim.ndp import flop_per_s, memory_bytes_per_s
from ndpsim.system.costs import combine_operator, gpu_ps
from ndpsim.system.machine import Copy, Machine
from ndpsim.units import PS_PER_S
from ndpsim.workload import expert_bytes, expert_flop, shared_operators

SCALES = np.array([[0.0], [0.25], [0.5], [0.75], [1.0]])
"""Tried multiples of the per-stage optimal GPU weight w."""


N_TIMES = 6
"""Least times of an expert: by memory and by compute, on the GPU, all units and the CPU."""

WINDOWS = (1, 8, 64)
"""Lengths in steps of the windows in which the GPU's room is counted."""


class _Window:
    """Savings possible with `room` experts on the GPU, window by window of `n_steps` steps."""

    def __init__(self, n_steps: int, room: int, n_experts: int) -> None:
        self._n_steps = n_steps
        self._room = room
        self._n_added = 0
        self._saved_ps = np.zeros((len(SCALES), n_experts))
        self._held_ps = np.zeros(len(SCALES))
        self._more_ps: list[NDArray[np.float64]] = []

    def add(self, saved_ps: NDArray[np.float64]) -> None:
        """Add one step's savings by expert, (n_scales, n_experts)."""
        self._saved_ps += saved_ps
        self._n_added += 1
        if self._n_added % self._n_steps == 0:
            self._close()

    def _close(self) -> None:
        if (self._saved_ps > 0).sum(axis=1).max() <= self._room:
            self._held_ps += self._saved_ps.sum(axis=1)
        else:
            ordered = -np.sort(-self._saved_ps, axis=1)
            self._held_ps += ordered[:, : self._room].sum(axis=1)
            self._more_ps.append(ordered[:, self._room :])
        self._saved_ps[:] = 0.0

    def savings(self) -> list[NDArray[np.float64]]:
        """By scale: savings with 0, 1, 2, ... transfers beyond what is held from the start."""
        self._close()
        more = np.concatenate([np.zeros((len(SCALES), 0)), *self._more_ps], axis=1)
        gains = np.cumsum(-np.sort(-more, axis=1), axis=1)
        return [
            held + np.concatenate([[0.0], gain])
            for held, gain in zip(self._held_ps, gains, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _StageTerms:
    """A stage's part of the bound for each scale: its base, and savings per token count."""

    base_ps: NDArray[np.float64]
    saved_ps: NDArray[np.float64]
    """(n_scales, n_active), in the order of the stage's token counts."""


class Bound:
    """Accumulates the expert stages of a request, then solves for the bound.

    `near` tells whether the units that hold the experts can compute them, `room` how many experts
    the GPU can hold, staging buffers included.
    """

    def __init__(self, memo: Memo, machine: Machine, *, near: bool, room: int) -> None:
        self._memo = memo
        self._machine = machine
        self._near = near
        n_all = machine.model.n_moe_layers * machine.model.n_experts
        self._saved_ps = np.zeros((len(SCALES), n_all))
        self._windows = [_Window(n_steps, room, n_all) for n_steps in WINDOWS]
        self._base_ps = np.zeros(len(SCALES))
        self._terms: dict[tuple[int, bytes], _StageTerms] = {}
        self._expert_ps: dict[int, tuple[float, ...]] = {}

    def add(self, routed: NDArray[np.int16]) -> None:
        """Add one step's expert stages; `routed` is (n_tokens, n_moe_layers, top_k) ids."""
        n_tokens, n_layers, top_k = routed.shape
        n_experts = self._machine.model.n_experts
        index = np.arange(n_layers)[None, :, None] * n_experts + routed
        if n_tokens == 1 and routed.min() >= 0:  # every layer runs top_k experts of one token
            terms = self._stage_terms(1, np.ones(top_k, dtype=np.int64))
            self._base_ps += n_layers * terms.base_ps
            self._save(index[0].ravel(), np.tile(terms.saved_ps, n_layers))
            return
        counts = np.bincount(index[routed >= 0], minlength=n_layers * n_experts)
        saved_ps = []
        for row in counts.reshape(n_layers, n_experts):
            terms = self._stage_terms(n_tokens, row[row > 0])
            self._base_ps += terms.base_ps
            saved_ps.append(terms.saved_ps)
        self._save(np.flatnonzero(counts), np.concatenate(saved_ps, axis=1))

    def _save(self, experts: NDArray[np.int64], saved_ps: NDArray[np.float64]) -> None:
        """Note one step's active experts and what their uses on the GPU would save."""
        step_ps = np.zeros_like(self._saved_ps)
        step_ps[:, experts] = saved_ps
        self._saved_ps += step_ps
        for window in self._windows:
            window.add(step_ps)

    def solve_ps(self, gpu_only_ps: int, n_preloaded: int = 0) -> int:
        """The bound of the whole request.

        Given the time of all stages that are GPU only, and how many experts a scheduler may have on
        the GPU before the request arrives: these serve as if transferred, at no cost.
        """
        transfer_ps = _least_copy_ps(self._machine.copies, self._machine.capacity)
        curves = [window.savings() for window in self._windows]
        bounds = []
        for scale, (base_ps, saved_ps) in enumerate(
            zip(self._base_ps, self._saved_ps, strict=True)
        ):
            every = np.concatenate([[0.0], np.cumsum(-np.sort(-saved_ps))])[n_preloaded:]
            savings = [every, *(curve[scale] for curve in curves)]
            bounds.append(_least_total_ps(gpu_only_ps + base_ps, savings, transfer_ps))
        return max(bounds)

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
        on_gpu, off_gpu = self._least_ps(counts)
        w = SCALES * _best_weight(shared_ps, on_gpu, off_gpu)
        base = w[:, 0] * shared_ps + (1 - w[:, 0]) * off_gpu.sum() + combine_ps
        return _StageTerms(base, np.maximum(0.0, (1 - w) * off_gpu - w * on_gpu))

    def _least_ps(
        self, counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least time of each expert on the GPU, and off it with units and CPU at work together.

        Memory and compute of different experts may overlap on a device, so each one's work in a
        stage is either all memory time or all compute time, whichever bounds better.
        """
        rows = [self._expert_ps_of(int(n)) for n in counts]
        gpu_memory, gpu_flop, *near, host_memory, host_flop = np.array(rows).reshape(-1, N_TIMES).T
        on_gpu = max(gpu_memory, gpu_flop, key=np.sum)
        host = max(host_memory, host_flop, key=np.sum)
        if not self._near:
            return on_gpu, host
        units = max(*near, key=np.sum)
        both = units.sum() + host.sum()
        u = host.sum() / both if both else 0.0
        return on_gpu, np.minimum(u * units, (1 - u) * host)

    def _expert_ps_of(self, n_tokens: int) -> tuple[float, ...]:
        """Least time of one expert by memory and by compute, on the GPU, all units, the CPU."""
        if n_tokens not in self._expert_ps:
            machine, weight = self._machine, self._machine.formats.expert
            n_bytes = expert_bytes(machine.model, weight)
            n_flop = expert_flop(machine.model, n_tokens)
            spec, activation = machine.system.gpu, machine.formats.activation.name
            gpu_memory = n_bytes * PS_PER_S / gpu.memory_bytes_per_s(spec)
            gpu_flop = n_flop * PS_PER_S / gpu.peak_flop_per_s(spec, activation)
            near_memory = near_flop = 0.0
            if self._near:
                unit, n_units = machine.ndp.unit, len(machine.units)
                near_memory = n_bytes * PS_PER_S / (n_units * memory_bytes_per_s(unit))
                near_flop = n_flop * PS_PER_S / (n_units * flop_per_s(unit, weight))
            host_memory = _least_copy_ps(machine.reads, machine.capacity)
            host_flop = n_flop * PS_PER_S / cpu.peak_flop_per_s(machine.system.cpu, activation)
            self._expert_ps[n_tokens] = (
                *(gpu_memory, gpu_flop),
                *(near_memory, near_flop),
                *(host_memory, host_flop),
            )
        return self._expert_ps[n_tokens]


def _least_copy_ps(copies: tuple[tuple[Copy, ...], ...], capacity: Mapping[str, int]) -> float:
    """Least link time of one expert: on each resource, that of the home that loads it least."""
    loads: list[dict[str, int]] = []
    for home in copies:
        load: dict[str, int] = {}
        for copy in home:
            for resource in copy.route:
                load[resource] = load.get(resource, 0) + copy.n_bytes
        loads.append(load)
    return max(
        min(load.get(resource, 0) for load in loads) * PS_PER_S / rate
        for resource, rate in capacity.items()
    )


def _best_weight(
    shared_ps: float, on_gpu: NDArray[np.float64], off_gpu: NDArray[np.float64]
) -> float:
    """The w that bounds best when every expert may be on the GPU already.

    The bound is concave and piecewise linear in w; its breakpoints are tried.
    """
    w = np.unique(np.concatenate([[0.0, 1.0], off_gpu / (off_gpu + on_gpu)]))
    value = w * shared_ps + np.minimum(np.outer(w, on_gpu), np.outer(1 - w, off_gpu)).sum(axis=1)
    return float(w[int(np.argmax(value))])


def _least_total_ps(base_ps: float, savings: list[NDArray[np.float64]], transfer_ps: float) -> int:
    """Least T with T >= base - savings(T / transfer); a saving is the least of several curves."""

    def saved_ps(total_ps: float) -> float:
        n_moved = total_ps / transfer_ps if transfer_ps else float("inf")
        return min(float(np.interp(n_moved, np.arange(len(curve)), curve)) for curve in savings)

    low, high = 0.0, base_ps
    for _ in range(64):
        middle = (low + high) / 2
        if middle >= base_ps - saved_ps(middle):
            high = middle
        else:
            low = middle
    return int(low)
