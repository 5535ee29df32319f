"""Devices and links as a graph; routes between devices as named resources."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ndpsim.errors import ConfigError
from ndpsim.link.spec import LinkGroup, LinkSpec
from ndpsim.link.transfer import effective_bytes_per_s, setup_ps


@dataclass(frozen=True, slots=True)
class Route:
    """What bytes cross between two devices, in order.

    A resource may appear twice: DIMM to DIMM over the host crosses a shared channel both ways.
    """

    resources: tuple[str, ...]
    latency_ps: int
    setup_ps: int


@dataclass(frozen=True, slots=True)
class Resource:
    """A directed (or half-duplex, shared) share of a link."""

    name: str
    bytes_per_s: int
    fj_per_bit: int


@dataclass(frozen=True)
class Topology:
    """All routes between devices and the resources they use."""

    devices: tuple[str, ...]
    resources: tuple[Resource, ...]
    routes: tuple[tuple[str, str, Route], ...]

    @cached_property
    def capacity(self) -> dict[str, int]:
        """Resource name -> bytes per second."""
        return {resource.name: resource.bytes_per_s for resource in self.resources}

    @cached_property
    def energy(self) -> dict[str, int]:
        """Resource name -> femtojoules per payload bit."""
        return {resource.name: resource.fj_per_bit for resource in self.resources}

    @cached_property
    def _routes(self) -> dict[tuple[str, str], Route]:
        return {(src, dst): route for src, dst, route in self.routes}

    def route(self, src: str, dst: str) -> Route:
        """The way from one device to another; a device reaches itself at no cost."""
        return self._routes[src, dst]


@dataclass(frozen=True, slots=True)
class _Hop:
    """A one-way passage through a link: who may enter, who is reached, what it uses and costs."""

    resource: Resource
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    latency_ps: int
    setup_ps: int
    n_links: int = 1
    """What it adds to a path's length."""


def build_topology(groups: tuple[LinkGroup, ...], devices: tuple[str, ...]) -> Topology:
    """The graph of `groups` over `devices`, with the route of fewest links for every pair.

    Raises
    ------
    ConfigError
        An end that names no device, a name used twice, or two devices that nothing connects.
    """
    hops = [hop for group in groups for hop in _hops(group, devices)]
    names = [group.name for group in groups]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError("topology", f"two link groups are named '{name}'")
    routes = tuple(_routes(hops, devices))
    resources = dict.fromkeys(hop.resource for hop in hops)
    return Topology(devices, tuple(resources), routes)


def _routes(hops: list[_Hop], devices: tuple[str, ...]) -> Iterator[tuple[str, str, Route]]:
    import networkx as nx  # 0.2 s to import

    graph: nx.DiGraph[str | int] = nx.DiGraph()
    graph.add_nodes_from(devices)
    for index, hop in enumerate(hops):
        graph.add_edges_from(((source, index) for source in hop.sources), links=hop.n_links)
        graph.add_edges_from(((index, target) for target in hop.targets), links=0)
    for src in devices:
        paths = nx.single_source_dijkstra_path(graph, src, weight="links")
        for dst in devices:
            if dst not in paths:
                raise ConfigError("topology", f"no path from '{src}' to '{dst}'")
            crossed = [hops[node] for node in paths[dst] if isinstance(node, int)]
            yield (
                src,
                dst,
                Route(
                    resources=tuple(hop.resource.name for hop in crossed),
                    latency_ps=sum(hop.latency_ps for hop in crossed),
                    setup_ps=sum(hop.setup_ps for hop in crossed),
                ),
            )


def _hops(group: LinkGroup, devices: tuple[str, ...]) -> Iterator[_Hop]:
    first, second = (_members(group, end, devices) for end in group.ends)
    if first == second:
        yield from _switch(group, first)
        return
    if group.count > 1 and group.ends == (*first, *second):
        raise ConfigError(
            f"topology.{group.name}.count",
            f"'{group.ends[0]}' and '{group.ends[1]}' are one device each, and a transfer takes one"
            " link; give the link more lanes instead",
        )
    link, full = group.link, group.link.duplex == "full"
    for index in range(group.count):
        name = f"{group.name}{index}" if group.count > 1 else group.name
        here, there = (_block(members, index, group.count) for members in (first, second))
        for direction, sources, targets in (("down", here, there), ("up", there, here)):
            back = full and direction == "up"
            resource = _resource(f"{name}.{direction}" if full else name, link, back=back)
            yield _Hop(resource, sources, targets, link.latency, setup_ps(link))


def _resource(name: str, link: LinkSpec, *, back: bool) -> Resource:
    return Resource(name, effective_bytes_per_s(link, back=back), link.energy)


def _members(group: LinkGroup, end: str, devices: tuple[str, ...]) -> tuple[str, ...]:
    """Devices of a kind, or the one of that name, in the order given."""
    pattern = re.compile(re.escape(end) + r"\d*")
    members = tuple(device for device in devices if pattern.fullmatch(device))
    if not members:
        listed = ", ".join(devices)
        raise ConfigError(f"topology.{group.name}.ends", f"no device '{end}'; devices: {listed}")
    return members


def _block(members: tuple[str, ...], index: int, count: int) -> tuple[str, ...]:
    """The devices on one of `count` links, in even contiguous blocks; one alone is on all."""
    if len(members) == 1:
        return members
    return tuple(m for i, m in enumerate(members) if i * count // len(members) == index)


def _switch(group: LinkGroup, members: tuple[str, ...]) -> Iterator[_Hop]:
    """A port per device on a switch that never blocks.

    A transfer takes the sender's port out and the receiver's port in; latency, set-up and energy
    are those of the link and counted on the way out.
    """
    if group.count > 1:
        raise ConfigError(
            f"topology.{group.name}.count", "a switch has one port for each device; expected 1"
        )
    if group.link.duplex == "half":
        raise ConfigError(f"topology.{group.name}.link", "a switch needs full-duplex links")
    link, fabric = group.link, f"{group.name} switch"
    rate = effective_bytes_per_s(link)
    for member in members:
        sender = Resource(f"{group.name}.{member}.out", rate, link.energy)
        receiver = Resource(f"{group.name}.{member}.in", rate, 0)
        yield _Hop(sender, (member,), (fabric,), link.latency, setup_ps(link))
        yield _Hop(receiver, (fabric,), (member,), 0, 0, n_links=0)
