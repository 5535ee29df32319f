"""A machine that runs one model under one placement of its experts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ndpsim.dram import refresh_interval_ps
from ndpsim.link import Route, Topology, build_topology
from ndpsim.ndp import ExpertSlice, memory_bytes_per_s
from ndpsim.policy import Home
from ndpsim.spec import digest
from ndpsim.system.spec import NdpGroup, SystemSpec
from ndpsim.units import ps_for
from ndpsim.workload import Formats, ModelSpec, expert_slice_bytes

GPU, HOST, MEMORY = "gpu", "host", "memory"
"""Device names of every topology, beside the NDP units ndp0, ndp1, ..."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One shard's way to the GPU: the flow resources it crosses and its bytes."""

    route: tuple[str, ...]
    n_bytes: int
    latency_ps: int
    setup_ps: int


@dataclass(frozen=True, eq=False)
class Machine:
    """Hardware, model and homes: all that a situation is simulated on.

    Compared and hashed by content, once.
    """

    system: SystemSpec
    model: ModelSpec
    formats: Formats
    homes: tuple[Home, ...]

    @cached_property
    def _digest(self) -> str:
        return digest(
            {
                "system": self.system.model_dump(mode="json"),
                "model": self.model.model_dump(mode="json"),
                "formats": repr(self.formats),
                "homes": repr(self.homes),
            }
        )

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Machine) and self._digest == other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)

    @property
    def ndp(self) -> NdpGroup:
        """The NDP units; only asked where there are any."""
        assert self.system.ndp is not None
        return self.system.ndp

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Names of the NDP units."""
        return unit_names(self.system)

    @cached_property
    def topology(self) -> Topology:
        """Links and routes between all devices."""
        return build_topology(self.system.topology, (GPU, HOST, MEMORY, *self.units))

    @cached_property
    def capacity(self) -> dict[str, int]:
        """Bytes per second of every flow resource: links, and the ranks of each NDP unit."""
        return self.topology.capacity | {
            ranks_of(unit): memory_bytes_per_s(self.ndp.unit) for unit in self.units
        }

    @cached_property
    def exclusive(self) -> frozenset[str]:
        """Flow resources that serve one priority class at a time."""
        return frozenset(
            ranks_of(unit) for unit in self.units if self.ndp.host_access == "exclusive"
        )

    @cached_property
    def copies(self) -> tuple[tuple[Copy, ...], ...]:
        """By home: how its shards reach the GPU."""
        return self._copies_to(GPU)

    @cached_property
    def reads(self) -> tuple[tuple[Copy, ...], ...]:
        """By home: how its shards reach the host's cores."""
        return self._copies_to(HOST)

    def _copies_to(self, device: str) -> tuple[tuple[Copy, ...], ...]:
        return tuple(
            tuple(self._copy(shard.unit, device, shard.columns) for shard in home.shards)
            for home in self.homes
        )

    def _copy(self, unit: str, device: str, columns: int) -> Copy:
        route = self.route(unit, device)
        reads_ranks = unit in self.units and self.ndp.host_access != "ideal"
        return Copy(
            route=(ranks_of(unit), *route.resources) if reads_ranks else route.resources,
            n_bytes=expert_slice_bytes(self.model, self.formats.expert, columns),
            latency_ps=route.latency_ps,
            setup_ps=route.setup_ps + (self.ndp.access_switch if reads_ranks else 0),
        )

    @cached_property
    def fetch_ps(self) -> tuple[int, ...]:
        """By home: picoseconds to copy one expert to the GPU, one copy behind another."""
        return tuple(transfer_ps(copies, self.capacity) for copies in self.copies)

    def route(self, src: str, dst: str) -> Route:
        """The way between two devices."""
        return self.topology.route(src, dst)

    def slices(self, home: int, n_tokens: int) -> tuple[tuple[str, ExpertSlice], ...]:
        """(unit, work) of an expert that is computed near its data; empty where nothing can."""
        return tuple(
            (shard.unit, self.slice_of(shard.columns, n_tokens))
            for shard in self.homes[home].shards
            if shard.unit in self.units
        )

    def slice_of(self, columns: int, n_tokens: int) -> ExpertSlice:
        """An expert slice in this model's dimensions and format."""
        model = self.model
        return ExpertSlice(n_tokens, columns, model.d_model, model.n_matrices, self.formats.expert)

    def vector_bytes(self, n_tokens: int) -> int:
        """Bytes of one activation vector (of width d_model) per token."""
        return self.formats.activation.bytes_for(n_tokens * self.model.d_model)

    @cached_property
    def refresh_interval_ps(self) -> int:
        """Time between refreshes of an NDP unit's memory; 0 if it is not refreshed."""
        return refresh_interval_ps(self.ndp.unit.dram)


def unit_names(system: SystemSpec) -> tuple[str, ...]:
    """Names of the NDP units."""
    return tuple(f"ndp{index}" for index in range(system.ndp.count if system.ndp else 0))


def ranks_of(unit: str) -> str:
    """The flow resource that stands for a unit's own memory."""
    return f"{unit}.ranks"


def transfer_ps(copies: tuple[Copy, ...], capacity: Mapping[str, int]) -> int:
    """Picoseconds until concurrent copies have passed their most loaded resource."""
    load: dict[str, int] = {}
    for copy in copies:
        for resource in copy.route:
            load[resource] = load.get(resource, 0) + copy.n_bytes
    return max((ps_for(n, capacity[resource]) for resource, n in load.items()), default=0)
