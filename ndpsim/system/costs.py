"""What work costs on each device of a machine: estimates for policies, times for stages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ndpsim import cpu, gpu
from ndpsim.memo import Memo
from ndpsim.ndp import ExpertSlice, execute
from ndpsim.policy import Phase, Slot
from ndpsim.system.machine import GPU, Copy, Machine, ranks_of, transfer_ps
from ndpsim.units import PS_PER_S, ps_for
from ndpsim.workload import Elementwise, Operator, expert_operators, grouped_operators


def gpu_ps(memo: Memo, machine: Machine, operators: Sequence[Operator]) -> int:
    """Time of operators one after another on the GPU."""
    return sum(memo(gpu.operator_ps, machine.system.gpu, operator) for operator in operators)


def near_ps(memo: Memo, machine: Machine, home: int, n_tokens: int) -> tuple[tuple[str, int], ...]:
    """(unit, time) of an expert's slices, each alone on its unit right after a refresh."""

    def alone_ps(piece: ExpertSlice) -> int:
        return memo(execute, machine.ndp.unit, (piece,), 0).duration_ps

    work = machine.slices(home, n_tokens)
    times = {piece: alone_ps(piece) for piece in dict.fromkeys(piece for _, piece in work)}
    return tuple((unit, times[piece]) for unit, piece in work)


def activations_ps(memo: Memo, machine: Machine, n_tokens: int) -> int:
    """Time of one vector per token from the GPU to every unit, and of one from each back."""
    n_bytes = machine.vector_bytes(n_tokens)
    there = [machine.route(GPU, unit) for unit in machine.units]
    back = [machine.route(unit, GPU) for unit in machine.units]
    return sum(
        transfer_ps(tuple(Copy(r.resources, n_bytes, 0, 0) for r in routes), machine.capacity)
        + max((route.latency_ps for route in routes), default=0)
        for routes in (there, back)
    )


@dataclass(frozen=True)
class KnownCosts:
    """Costs asked for so far, shared by a machine's stages; what it learns changes no answer."""

    gpu: dict[int, int]
    near: dict[tuple[int, int], tuple[tuple[str, int], ...]]
    blocked: dict[tuple[int, int], tuple[tuple[str, int], ...]]
    cpu: dict[tuple[int, int], int]


def known_costs(memo: Memo, machine: Machine) -> KnownCosts:
    """Nothing asked for yet."""
    return KnownCosts({}, {}, {}, {})


@dataclass(frozen=True)
class StageCosts:
    """What a dispatch policy sees of an expert stage (a `DispatchView`)."""

    memo: Memo
    machine: Machine
    phase: Phase
    slots: tuple[Slot, ...]
    n_tokens: int = 1
    """Tokens of the step."""

    @cached_property
    def _known(self) -> "KnownCosts":
        return self.memo(known_costs, self.machine)

    @property
    def link_bytes_per_s(self) -> int:
        """The narrowest link between the experts' homes and the GPU, all homes together."""
        total = sum(copy.n_bytes for copies in self.machine.copies for copy in copies)
        every = tuple(copy for copies in self.machine.copies for copy in copies)
        return total * PS_PER_S // transfer_ps(every, self.machine.capacity)

    @property
    def near_bytes_per_s(self) -> int:
        """All units' memory together."""
        return sum(self.machine.capacity[ranks_of(unit)] for unit in self.machine.units)

    @property
    def activations_ps(self) -> int:
        """One vector per token to every unit, and one back."""
        return self.memo(activations_ps, self.machine, self.n_tokens)

    def gpu_ps(self, slot: Slot) -> int:
        """Compute time on the GPU, weights present."""
        known = self._known.gpu
        if slot.n_tokens not in known:
            known[slot.n_tokens] = self.memo(expert_gpu_ps, self.machine, slot.n_tokens)
        return known[slot.n_tokens]

    def fetch_ps(self, slot: Slot) -> int:
        """Time to copy the weights (what is left of them) to the GPU behind another copy."""
        if not slot.left:
            return self.machine.fetch_ps[slot.home]
        copies = self.machine.copies[slot.home]
        rest = [replace(c, n_bytes=left) for c, left in zip(copies, slot.left, strict=True)]
        return transfer_ps(tuple(rest), self.machine.capacity)

    def near_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """(unit, time) of the slot's slices, each alone on its unit."""
        known, key = self._known.near, (slot.home, slot.n_tokens)
        if key not in known:
            known[key] = self.memo(near_ps, self.machine, *key)
        return known[key]

    def blocked_ps(self, slot: Slot) -> tuple[tuple[str, int], ...]:
        """(unit, time) that fetching the slot takes from its units' computing."""
        known, key = self._known.blocked, (slot.home, self.fetch_ps(slot))
        if key not in known:
            known[key] = self.memo(blocked_ps, self.machine, *key)
        return known[key]

    def cpu_ps(self, slot: Slot) -> int:
        """Time on the host CPU: computing, or reading the weights where they live if longer."""
        known, key = self._known.cpu, (slot.home, slot.n_tokens)
        if key not in known:
            known[key] = self.memo(expert_cpu_ps, self.machine, *key)
        return known[key]


def blocked_ps(
    memo: Memo, machine: Machine, home: int, fetch_ps: int
) -> tuple[tuple[str, int], ...]:
    """(unit, time) that a copy of this duration takes from the computing of a home's units."""
    if not machine.slices(home, 1):
        return ()
    access, shards = machine.ndp.host_access, machine.homes[home].shards
    if access == "exclusive":
        return tuple((shard.unit, fetch_ps) for shard in shards)
    if access == "share":
        return tuple(
            (shard.unit, ps_for(copy.n_bytes, machine.capacity[copy.route[0]]))
            for shard, copy in zip(shards, machine.copies[home], strict=True)
        )
    return ()


def expert_gpu_ps(memo: Memo, machine: Machine, n_tokens: int) -> int:
    """Time of one expert on the GPU, weights present."""
    return gpu_ps(memo, machine, expert_work(machine, n_tokens))


def expert_cpu_ps(memo: Memo, machine: Machine, home: int, n_tokens: int) -> int:
    """Time of one expert on the host: arithmetic or reading the weights, whichever is longer."""
    read_ps = transfer_ps(machine.reads[home], machine.capacity)
    return max(cpu_ps(memo, machine, expert_work(machine, n_tokens)), read_ps)


def cpu_ps(memo: Memo, machine: Machine, operators: Sequence[Operator]) -> int:
    """Time of operators one after another on the host's cores, memory to themselves."""
    return sum(memo(cpu.operator_ps, machine.system.cpu, operator) for operator in operators)


def expert_work(machine: Machine, n_tokens: int) -> tuple[Operator, ...]:
    """GPU operators of one routed expert."""
    return expert_operators(machine.model, machine.formats, n_tokens)


def resident_work(
    memo: Memo, machine: Machine, tokens: tuple[int, ...], n_tokens: int
) -> tuple[Operator, ...]:
    """GPU operators of experts that are all there: grouped kernels where those are faster.

    Serving stacks run the experts of a layer as one grouped product each for gate and up, and for
    down. The rule `attacc` knows no grouped kernels.

    Parameters
    ----------
    tokens
        Tokens of each expert.
    n_tokens
        Tokens of the step.
    """
    model, formats = machine.model, machine.formats
    single = tuple(op for n in tokens for op in expert_work(machine, n))
    if len(tokens) < 2 or machine.system.gpu.rule == "attacc" or not model.gated:
        return single
    grouped = grouped_operators(
        tuple(sorted(tokens, reverse=True)),
        model.d_model,
        model.d_expert,
        weight=formats.expert,
        activation=formats.activation,
        n_tokens=n_tokens,
    )
    faster = gpu_ps(memo, machine, grouped) < gpu_ps(memo, machine, single)
    return grouped if faster else single


def combine_operator(machine: Machine, n_read: int, n_written: int) -> Elementwise:
    """The router-weighted sum of `n_read` vectors of width d_model into `n_written`."""
    width, activation = machine.model.d_model, machine.formats.activation
    return Elementwise("combine", n_read * width, n_written * width, 2 * n_read * width, activation)
