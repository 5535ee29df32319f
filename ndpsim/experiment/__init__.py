"""One run: its spec, its result, its files."""

from ndpsim.experiment.result import RunResult
from ndpsim.experiment.routing import Routing, routing_of
from ndpsim.experiment.run import build_machine, config_hash, run, run_resolved
from ndpsim.experiment.spec import RunSpec

__all__ = [
    "Routing",
    "RunResult",
    "RunSpec",
    "build_machine",
    "config_hash",
    "routing_of",
    "run",
    "run_resolved",
]
