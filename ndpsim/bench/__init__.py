"""How fast ndpsim is: medians of several measurements on this machine."""

from ndpsim.bench.compare import Difference, compare_with
from ndpsim.bench.measure import Measurement, measure_all
from ndpsim.bench.scaling import write_scaling

__all__ = ["Difference", "Measurement", "compare_with", "measure_all", "write_scaling"]
