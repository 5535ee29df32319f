"""What a near-data-processing unit is made of."""

from math import prod
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from ndpsim.dram import DramSpec
from ndpsim.errors import nearest
from ndpsim.spec.model import (
    Count,
    EnergyPerFlop,
    Frequency,
    PositiveFrac,
    Power,
    Size,
    Spec,
    Time,
)

N_TILE_BUFFERS = 2
"""Tiles that are on the unit at a time: one computes while the other loads."""


class NdpSpec(Spec):
    """Compute beside memory, at the level where it sees many memories in parallel.

    A lane is what is read as one: the whole of `dram`, or one object of a `level` inside it. All
    lanes of all `ranks` are read at once, in lockstep, each over a data path of its own. A DIMM's
    centre buffer, a logic die and a CXL device see ranks or (pseudo-)channels; compute inside the
    dies sees bank groups or banks.
    """

    preset_kind: ClassVar[str | None] = "ndp"

    dram: DramSpec
    """One rank (or channel) of the memory the unit reads."""
    ranks: Count
    """Ranks (or channels) read in parallel."""
    level: str = "channel"
    """Where compute sits: a level of `dram`, from `channel` (all of it over its pins) to `bank`."""
    active_lanes: Count | None = None
    """Lanes that may stream at once, where power or shared compute allows fewer than there are."""
    read_energy_frac: PositiveFrac = 1.0
    """Share of a read command's energy that is left when data stays inside the level."""
    capacity: Size
    """Memory of the unit, bytes."""
    clock: Frequency
    """Clock of the compute core."""
    macs_per_cycle: dict[str, Count]
    """Multiply-accumulates per cycle, by format name of the weights."""
    activation_lanes: Count
    """Elements of the activation function per cycle."""
    reduction_lanes: Count | None = None
    """Elements per cycle by which an expert's result is added to the unit's sum; none where the
    MAC lanes' accumulators hold that sum."""
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

    @model_validator(mode="after")
    def _level_is_one_of_the_memory(self) -> Self:
        objects = self.dram.standard.levels[:-2]
        if self.level not in objects:
            hint = nearest(self.level, objects)
            raise ValueError(f"level '{self.level}' is none of {', '.join(objects)}{hint}")
        if self.active_lanes is not None and self.active_lanes > self.lanes:
            raise ValueError(f"active_lanes: {self.active_lanes} of {self.lanes} lanes")
        return self

    @property
    def lanes(self) -> int:
        """Lanes there are."""
        return self.ranks * self.objects(self.level)

    @property
    def streams(self) -> int:
        """Lanes that stream at once."""
        return self.active_lanes or self.lanes

    def objects(self, level: str) -> int:
        """Objects of a level in one `dram`."""
        levels = self.dram.standard.levels
        counts = self.dram.organisation.counts
        return prod(counts[name] for name in levels[1 : levels.index(level) + 1])
