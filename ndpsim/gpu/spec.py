"""A GPU as public specifications plus a handful of architecture-wide efficiencies."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from ndpsim.spec.model import (
    Bandwidth,
    Count,
    CountOrZero,
    EnergyPerBit,
    EnergyPerFlop,
    Frequency,
    PositiveFrac,
    Power,
    Size,
    Spec,
    Time,
)


class AttAccRule(Spec):
    """Constants of the GPU model in the AttAcc simulator (ASPLOS 2024).

    Source: github.com/scale-snu/attacc_simulator, src/devices.py and src/config.py, commit c1540de.
    """

    compute_frac: PositiveFrac = 0.80
    """Share of peak FLOP rate that a fully occupied machine reaches (MAX_COMPUTE_UTIL)."""
    memory_frac: PositiveFrac = 0.85
    """Share of peak bandwidth that a fully occupied machine reaches (MAX_OFF_MEM_BW_UTIL)."""
    reference_bandwidth: Bandwidth = 1_555_000_000_000
    """Bandwidth of the A100 on which activation and norm layers were measured."""
    activation_fixed: Time = 8_290_000
    """Fixed cost of an activation layer."""
    activation_per_mb: Time = 447_000
    """Cost of 10^6 bytes of an activation layer at the reference bandwidth."""
    norm_fixed: Time = 6_870_000
    """Fixed cost of a norm layer."""
    norm_per_mb: Time = 1_600_000
    """Cost of 10^6 bytes of a norm layer at the reference bandwidth."""


class GpuSpec(Spec):
    """A GPU. Rates are per SM and clock cycle; one multiply-accumulate is 2 FLOP."""

    preset_kind: ClassVar[str | None] = "gpu"

    rule: Literal["sm", "attacc"] = "sm"
    """How operators are timed: tiles and waves over SMs, or the AttAcc simulator's roofline."""
    sms: Count
    """Streaming multiprocessors."""
    clock: Frequency
    """SM clock under sustained load."""
    matrix_flop: dict[str, Count]
    """Dense GEMM FLOP per cycle and SM, by activation format."""
    vector_flop: Count
    """FP32 FLOP per cycle and SM outside the tensor cores."""
    exp_ops: Count
    """Exponentials per cycle and SM (special function units)."""
    dequant_flop: Count
    """Vector FLOP to turn one weight of a narrower format into the activation's format."""
    format_dequant_flop: dict[str, Count] = Field(default_factory=dict)
    """The same for weight formats that take another number."""
    memory_capacity: Size
    """Bytes of device memory."""
    memory_bandwidth: Bandwidth
    """Peak device memory bandwidth."""
    memory_frac: PositiveFrac
    """Share of peak bandwidth that long streams reach."""
    memory_latency: Time
    """From an SM's load to its data, device memory idle."""
    bytes_in_flight: Size
    """Most bytes one SM can have under way from memory."""
    l2_capacity: Size
    """Bytes of the last-level cache."""
    l2_copies: Count
    """Partitions of L2 that each keep their own copy of what their SMs read."""
    l2_bytes: Count
    """L2 read bandwidth of the whole GPU in bytes per cycle."""
    cluster: Count = 1
    """CTAs side by side that share one operand's loads from L2 (multicast)."""
    l1_capacity: Size
    """Bytes of L1 and shared memory per SM."""
    tensor_frac: PositiveFrac
    """Share of the dense GEMM rate that a long inner loop reaches."""
    format_frac: dict[str, PositiveFrac] = Field(default_factory=dict)
    """The same for activation formats that reach another share."""
    grouped_frac: PositiveFrac
    """Share of that rate inside kernels over many experts."""
    grouped_tile_m: Count
    """Least rows of a tile in the grouped kernels that libraries ship for 4-bit activations."""
    grouped_helpers: CountOrZero
    """Small kernels per grouped one, which route, sort and zero."""
    attention_frac: PositiveFrac
    """Share of that rate that the two products of fused attention reach."""
    softmax_frac: PositiveFrac
    """Share of softmax's exponentials that fused attention does not hide behind its products."""
    attention_rows: Count
    """Query rows of a CTA in prefill attention."""
    decode_rows: Count
    """Rows to which decode attention pads the queries that share a KV head."""
    launch: Literal["graph", "eager", "none"] = "graph"
    """Whether kernels are replayed from a graph, launched one by one, or counted without a gap."""
    launch_kernel: Time
    """Start and drain of a kernel: what a profiler counts for one that does nothing."""
    launch_graph: Time
    """From the end of one kernel to useful work of the next, inside a graph."""
    launch_eager: Time
    """The same with an eager framework between kernels."""
    attention_fixed: Time
    """Fixed cost of fused attention beyond a launch: page look-up, softmax statistics, merging."""
    attention_merge: Time
    """Merging one part of a cache that decode attention has split."""
    idle_power: Power
    """Static power."""
    peak_power: Power
    """Board power limit."""
    flop_energy: dict[str, EnergyPerFlop]
    """Dynamic energy per FLOP, by activation format."""
    memory_energy: EnergyPerBit
    """Dynamic energy per bit of device memory traffic."""
    attacc: AttAccRule = AttAccRule()
    """Constants of the rule `attacc`."""

    @model_validator(mode="after")
    def _price_every_format(self) -> Self:
        if self.matrix_flop.keys() != self.flop_energy.keys():
            unpaired = ", ".join(sorted(self.matrix_flop.keys() ^ self.flop_energy.keys()))
            raise ValueError(f"matrix_flop and flop_energy must name the same formats: {unpaired}")
        return self
