"""Results for people: terminal tables."""

from ndpsim.report.sweeps import sweep_view
from ndpsim.report.terminal import comparison_view, run_view, stats_view

__all__ = ["comparison_view", "run_view", "stats_view", "sweep_view"]
