"""Conservation laws of a finished run, checked by counting again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndpsim.errors import InvariantError
from ndpsim.system.machine import GPU, Machine, ranks_of
from ndpsim.system.memory import MemoryPlan
from ndpsim.system.session import Session, StepResult
from ndpsim.units import ceil_div
from ndpsim.workload import expert_bytes


def audit(
    machine: Machine,
    session: Session,
    plan: MemoryPlan,
    routed: NDArray[np.int16],
    results: Sequence[StepResult],
) -> None:
    """Check that nothing was lost, done twice, or held beyond capacity.

    Every routed (token, layer, expert) was computed exactly once; no resource moved more than its
    capacity allows or was busy for longer than the run; no unit computed without reading weights;
    the GPU never held more experts than fit.

    Raises
    ------
    InvariantError
        A law is broken; says which, where and by how much.
    """
    n_routed = int((routed >= 0).sum())
    n_computed = sum(int((r.n_gpu + r.n_near + r.n_cpu).sum()) for r in results)
    _equal("experts", "(token, expert) pairs computed", n_computed, n_routed)
    if session.peak_resident > plan.expert_capacity:
        text = f"{session.peak_resident} experts held, room for {plan.expert_capacity}"
        raise InvariantError(GPU, text)
    duration_ps = sum(r.duration_ps for r in results)
    busy, n_bytes = session.tally.total("busy_ps"), session.tally.total("n_bytes")
    critical = session.tally.total("critical_ps")
    _equal("critical path", "picoseconds", sum(critical.values()), duration_ps)
    for name, time_ps in busy.items():
        if time_ps > duration_ps:
            raise InvariantError(name, f"busy {time_ps} ps of a run of {duration_ps} ps")
    for name, rate in machine.topology.capacity.items():
        moved, limit = n_bytes.get(name, 0), ceil_div(busy.get(name, 0) * rate, 10**12)
        if moved > limit + session.tally.n_stages:
            raise InvariantError(name, f"moved {moved} bytes, capacity allows {limit}")
    _check_weights(machine, session, n_bytes)


def _check_weights(machine: Machine, session: Session, n_bytes: dict[str, int]) -> None:
    """FLOP near data and weight bytes tell of the same work."""
    flop = session.tally.total("flop")
    for unit in machine.units:
        if flop.get(unit, 0) and not n_bytes.get(ranks_of(unit), 0):
            raise InvariantError(unit, f"{flop[unit]} FLOP without reading a weight")
    one_expert = expert_bytes(machine.model, machine.formats.expert)
    if session.n_prefetched and n_bytes.get("pcie.down", one_expert) < one_expert:
        raise InvariantError("pcie.down", "experts arrived without bytes")


def _equal(where: str, what: str, got: int, expected: int) -> None:
    if got != expected:
        raise InvariantError(where, f"{what}: {got}, expected {expected}")
