"""A host CPU and its memory."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ndpsim.spec.model import (
    Bandwidth,
    Count,
    EnergyPerBit,
    EnergyPerFlop,
    Frequency,
    PositiveFrac,
    Power,
    Size,
    Spec,
    Time,
)


class CpuSpec(Spec):
    """A host CPU, one socket or several. One multiply-accumulate is 2 FLOP."""

    preset_kind: ClassVar[str | None] = "cpu"

    cores: Count
    """Cores that compute experts, of all NUMA nodes together."""
    clock: Frequency
    """Clock of those cores under sustained vector load."""
    simd_flop: dict[str, Count]
    """SIMD (or matrix unit) FLOP per cycle and core, by activation format."""
    simd_frac: PositiveFrac
    """Share of the SIMD rate that a GEMM reaches."""
    matrix_flop: dict[str, Count] = Field(default_factory=dict)
    """FLOP per cycle and core of a matrix unit (AMX), by activation format; empty without one."""
    matrix_frac: PositiveFrac = 1.0
    """Share of the matrix unit's rate that a GEMM reaches."""
    matrix_rows: Count = 16
    """Rows of activations that a matrix tile holds; a GEMM with fewer pays for all of them."""
    dequant_flop: Count
    """fp32 SIMD FLOP in whose time one weight of a narrower format is widened."""
    memory_capacity: Size
    """Bytes of host memory, of all NUMA nodes together."""
    memory_channels: Count
    """Memory channels, of all NUMA nodes together."""
    channel_bandwidth: Bandwidth
    """Peak bandwidth of one memory channel."""
    memory_frac: PositiveFrac
    """Share of the channels' bandwidth that streaming reads by all cores reach."""
    clusters: Count = 1
    """Clusters of cores (dies) with a port of their own to the memory controllers."""
    cluster_bandwidth: Bandwidth | None = None
    """Most that one cluster reads from memory; none where the channels are the only limit."""
    cluster_frac: PositiveFrac = 1.0
    """Share of its port that a cluster's streaming reads reach."""
    kernel_frac: PositiveFrac
    """Share of the streaming rate that expert kernels sustain: uneven threads, page misses."""
    numa_nodes: Count = 1
    """NUMA nodes in use, all alike."""
    numa: Literal["local", "interleaved"] = "local"
    """Whether each node's cores read weights in their own memory, or pages alternate over nodes."""
    remote_frac: PositiveFrac = 1.0
    """Rate at which a node's cores read another node's memory, as a share of the rate of theirs."""
    call: Time
    """Software cost of one operator: wake the threads, share the work, join."""
    idle_power: Power
    """Static power."""
    peak_power: Power
    """Power limit."""
    flop_energy: dict[str, EnergyPerFlop]
    """Dynamic energy per FLOP, by activation format."""
    memory_energy: EnergyPerBit
    """Dynamic energy per bit that host memory reads or writes, without its link."""

    @model_validator(mode="after")
    def _price_every_format(self) -> Self:
        if self.simd_flop.keys() != self.flop_energy.keys():
            unpaired = ", ".join(sorted(self.simd_flop.keys() ^ self.flop_energy.keys()))
            raise ValueError(f"simd_flop and flop_energy must name the same formats: {unpaired}")
        if "fp32" not in self.simd_flop:
            raise ValueError("simd_flop must name fp32, the width in which weights are widened")
        if unpriced := ", ".join(sorted(self.matrix_flop.keys() - self.flop_energy.keys())):
            raise ValueError(f"matrix_flop has formats that simd_flop lacks: {unpriced}")
        return self

    @property
    def memory_bandwidth(self) -> int:
        """Peak bytes per second of all channels."""
        return self.memory_channels * self.channel_bandwidth
