"""What a near-data-processing unit is made of."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from ndpsim.dram import DramSpec
from ndpsim.spec.model import Count, EnergyPerFlop, Frequency, Power, Size, Spec, Time

N_TILE_BUFFERS = 2
"""Tiles that are on the unit at a time: one computes while the other loads."""


class NdpSpec(Spec):
    """Compute beside memory, at the level where it sees `ranks` memories in parallel.

    For a DIMM's centre buffer, `dram` describes one rank and `ranks` of them are read at once, in
    lockstep, each over its own internal data bus.
    """

    preset_kind: ClassVar[str | None] = "ndp"

    dram: DramSpec
    """One rank (or channel) of the memory the unit reads."""
    ranks: Count
    """Ranks read in parallel."""
    capacity: Size
    """Memory of the unit, bytes."""
    clock: Frequency
    """Clock of the compute core."""
    macs_per_cycle: dict[str, Count]
    """Multiply-accumulates per cycle, by format name of the weights."""
    activation_lanes: Count
    """Elements of the activation function per cycle."""
    pipeline_cycles: Annotated[int, Field(ge=0)]
    """Cycles to fill or drain the MAC lanes and the reduction tree, once per dependent product."""
    tile: Size
    """Weights fetched and computed at a time; two tiles are buffered (double buffering)."""
    buffer: Size
    """On-chip buffer for weight tiles, activations and partial sums."""
    slice_granularity: Count
    """Columns of an expert's inner dimension that must stay together on one unit."""
    command_latency: Time
    """From a doorbell's arrival to the first DRAM command."""
    energy_per_flop: EnergyPerFlop
    """Dynamic energy of the compute core."""
    static_power: Power
    """Power of the core when idle."""

    @model_validator(mode="after")
    def _two_tiles_fit(self) -> Self:
        if N_TILE_BUFFERS * self.tile > self.buffer:
            raise ValueError(
                f"{N_TILE_BUFFERS} tiles of {self.tile} bytes do not fit the buffer of "
                f"{self.buffer} bytes"
            )
        return self
