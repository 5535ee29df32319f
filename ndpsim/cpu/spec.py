"""A host CPU and its memory."""

from typing import ClassVar, Self

from pydantic import model_validator

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
    """A host CPU. Rates are per core and clock cycle; one multiply-accumulate is 2 FLOP."""

    preset_kind: ClassVar[str | None] = "cpu"

    cores: Count
    """Cores that compute experts."""
    clock: Frequency
    """Clock of those cores under sustained vector load."""
    simd_flop: dict[str, Count]
    """SIMD (or matrix unit) FLOP per cycle and core, by activation format."""
    simd_frac: PositiveFrac
    """Share of the SIMD rate that a GEMM reaches."""
    dequant_flop: Count
    """SIMD FLOP to turn one weight of a narrower format into the activation's format."""
    memory_capacity: Size
    """Bytes of host memory."""
    memory_bandwidth: Bandwidth
    """Peak host memory bandwidth."""
    memory_frac: PositiveFrac
    """Share of peak bandwidth that streaming reads by all cores reach."""
    call: Time
    """Software cost of one operator: wake the threads, share the work, join."""
    idle_power: Power
    """Static power."""
    peak_power: Power
    """Power limit."""
    flop_energy: dict[str, EnergyPerFlop]
    """Dynamic energy per FLOP, by activation format."""
    memory_energy: EnergyPerBit
    """Dynamic energy per bit of host memory traffic."""

    @model_validator(mode="after")
    def _price_every_format(self) -> Self:
        if self.simd_flop.keys() != self.flop_energy.keys():
            unpaired = ", ".join(sorted(self.simd_flop.keys() ^ self.flop_energy.keys()))
            raise ValueError(f"simd_flop and flop_energy must name the same formats: {unpaired}")
        return self
