"""Many runs: the same configuration under several schedulers."""

from ndpsim.study.compare import Comparison, Skipped, compare, save_comparison

__all__ = ["Comparison", "Skipped", "compare", "save_comparison"]
