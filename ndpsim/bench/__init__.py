"""How fast ndpsim is: medians of several measurements on this machine."""

from ndpsim.bench.measure import Measurement, measure_all

__all__ = ["Measurement", "measure_all"]
