"""Many runs: the same configuration under several schedulers; `study.sweep` for a design space."""

from ndpsim.study.compare import Comparison, Skipped, compare, save_comparison

__all__ = ["Comparison", "Skipped", "compare", "save_comparison"]
