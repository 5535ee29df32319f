"""Links, the paths they form, and collectives over them."""

from ndpsim.link.collective import (
    ALL_REDUCE,
    Collective,
    Send,
    Sends,
    all_gather,
    all_reduce,
    all_to_all,
    all_to_all_rounds,
    broadcast,
    gather,
    reduce,
    reduce_scatter,
    run_sends,
)
from ndpsim.link.spec import LinkGroup, LinkSpec, Staging
from ndpsim.link.topology import Route, Topology, build_topology
from ndpsim.link.transfer import effective_bytes_per_s, setup_ps, transfer_ps

__all__ = [
    "ALL_REDUCE",
    "Collective",
    "LinkGroup",
    "LinkSpec",
    "Route",
    "Send",
    "Sends",
    "Staging",
    "Topology",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "all_to_all_rounds",
    "broadcast",
    "build_topology",
    "effective_bytes_per_s",
    "gather",
    "reduce",
    "reduce_scatter",
    "run_sends",
    "setup_ps",
    "transfer_ps",
]
