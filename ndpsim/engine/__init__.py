"""Integer-picosecond clock over SimPy: tasks, flows, probes."""

from ndpsim.engine.engine import Engine, Job, Probe, Record, Steps
from ndpsim.engine.flows import max_min_rates

__all__ = ["Engine", "Job", "Probe", "Record", "Steps", "max_min_rates"]
