"""Near-data-processing units: expert slices as tiled pipelines over DRAM streams."""

from ndpsim.ndp.spec import NdpSpec
from ndpsim.ndp.unit import (
    Execution,
    ExpertSlice,
    execute,
    flop_per_s,
    memory_bytes_per_s,
    refresh_interval_ps,
)

__all__ = [
    "Execution",
    "ExpertSlice",
    "NdpSpec",
    "execute",
    "flop_per_s",
    "memory_bytes_per_s",
    "refresh_interval_ps",
]
