"""Links and the paths they form: PCIe, memory channels, DIMM-Link."""

from ndpsim.link.spec import LinkGroup, LinkSpec
from ndpsim.link.topology import Route, Topology, build_topology
from ndpsim.link.transfer import effective_bytes_per_s

__all__ = [
    "LinkGroup",
    "LinkSpec",
    "Route",
    "Topology",
    "build_topology",
    "effective_bytes_per_s",
]
