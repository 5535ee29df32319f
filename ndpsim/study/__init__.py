"""Many runs: the same configuration under several schedulers, and sweeps of a design space."""

from ndpsim.study.compare import Comparison, Skipped, compare, save_comparison
from ndpsim.study.sweep import load_sweep, sweep

__all__ = ["Comparison", "Skipped", "compare", "load_sweep", "save_comparison", "sweep"]
