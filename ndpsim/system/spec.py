"""A whole machine as data."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ndpsim.cpu import CpuSpec
from ndpsim.gpu import GpuSpec
from ndpsim.link import LinkGroup
from ndpsim.ndp import NdpSpec
from ndpsim.spec.model import Count, SizeOrZero, Spec, Time


class NdpGroup(Spec):
    """The NDP units of a machine, all alike, and how the host works with them."""

    unit: NdpSpec
    """One unit."""
    count: Count
    """Units, named ndp0, ndp1, ..."""
    host_access: Literal["exclusive", "share", "ideal"]
    """What a host copy out of a unit's memory does to the unit: `exclusive` stops its computing,
    `share` takes the copy's bandwidth from it, `ideal` takes nothing."""
    access_switch: Time = 0
    """Handing a unit's memory from its core to the host before a copy, unless access is `ideal`:
    rows closed, the bus turned over."""
    reduce: Literal["gpu", "cpu", "dimm-link"]
    """Where the units' partial results are summed."""
    doorbell: Time
    """Host store that starts a unit, until it leaves the host, once per unit and layer."""
    poll: Time
    """From a unit's end until the host has seen it."""


class SystemSpec(Spec):
    """A GPU, a host CPU with its memory, NDP units, and the links between them.

    The devices of the topology are `gpu`, `host`, `memory` (the host's ordinary memory) and the NDP
    units; a link group may name the kind `ndp` for all of them.
    """

    preset_kind: ClassVar[str | None] = "system"

    gpu: GpuSpec
    cpu: CpuSpec
    ndp: NdpGroup | None = None
    """Absent on a machine without NDP units."""
    unified_memory: bool = False
    """Whether host and GPU share one memory, the GPU's: experts in host memory are then where the
    GPU reads them, and fetching one is a no-op."""
    topology: Annotated[tuple[LinkGroup, ...], Field(strict=False)]
    gpu_reserved: SizeOrZero
    """GPU memory taken by context, libraries and fragmentation."""
    refresh_phases: Count
    """Refresh phases that expert stages take in turn (a van der Corput sequence)."""
