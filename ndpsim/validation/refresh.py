"""What the refresh-phase rule costs: a run against one that never forgets the time.

Expert stages start in phases of a refresh interval that follow a van der Corput sequence, so that
no situation depends on elapsed time. The unbroken run starts each stage where the refresh interval
really is, to the picosecond.
"""

from dataclasses import dataclass

from ndpsim.experiment import RunSpec, build_machine, routing_of
from ndpsim.memo import Memo
from ndpsim.serving import serve
from ndpsim.spec import Resolved
from ndpsim.system import Session, plan_memory


@dataclass(frozen=True, slots=True)
class RefreshError:
    """Decode time in expert stages, both ways."""

    phased_ps: int
    unbroken_ps: int

    @property
    def error_frac(self) -> float:
        """Signed relative error of the rule."""
        return self.phased_ps / self.unbroken_ps - 1


class UnbrokenSession(Session):
    """A session whose machine counts refresh phases in picoseconds."""

    settled = False

    def _refresh_phase(self) -> int:
        return self.elapsed_ps % self._machine.system.refresh_phases


def refresh_error(resolved: Resolved[RunSpec]) -> RefreshError:
    """Run a configuration under the rule and unbroken."""
    return RefreshError(
        phased_ps=_decode_ps(resolved.spec, Session),
        unbroken_ps=_decode_ps(_to_the_picosecond(resolved.spec), UnbrokenSession),
    )


def _to_the_picosecond(spec: RunSpec) -> RunSpec:
    machine, _ = build_machine(spec, spec.model_spec())
    system = spec.system.model_copy(update={"refresh_phases": machine.refresh_interval_ps})
    return spec.model_copy(update={"system": system})


def _decode_ps(spec: RunSpec, kind: type[Session]) -> int:
    model = spec.model_spec()
    machine, placement = build_machine(spec, model)
    request = spec.workload
    room = plan_memory(
        machine, placement, request.batch, request.prompt_tokens, request.output_tokens
    ).expert_capacity
    session = kind(Memo(), machine, spec.scheduler, placement, room)
    results = serve(session, request, routing_of(spec, model).experts)
    return sum(int(result.experts_ps.sum()) for result in results[1:])
