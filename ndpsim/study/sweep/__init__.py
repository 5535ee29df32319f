"""Many points of a design space: defined by a file, run anywhere, kept point by point."""

from ndpsim.study.sweep.driver import (
    Estimate,
    Outcome,
    Progress,
    estimate,
    load_sweep,
    run_plan,
    sweep,
    workers,
)
from ndpsim.study.sweep.executors import Workers
from ndpsim.study.sweep.plan import Plan, load

__all__ = [
    "Estimate",
    "Outcome",
    "Plan",
    "Progress",
    "Workers",
    "estimate",
    "load",
    "load_sweep",
    "run_plan",
    "sweep",
    "workers",
]
