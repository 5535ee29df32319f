"""A link as its data sheet gives it, and how many of them join which devices."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ndpsim.spec.model import (
    Bandwidth,
    Count,
    EnergyPerBit,
    Frac,
    PositiveFrac,
    Size,
    SizeOrZero,
    Spec,
    Time,
)


class Staging(Spec):
    """A host core that copies pageable memory through a pinned buffer, piece by piece."""

    bandwidth: Bandwidth
    """Rate of the host's copy; the link moves one piece while the core copies the next."""
    piece: Size
    """Bytes the core copies before the link starts."""


class LinkSpec(Spec):
    """A link. An ideal one leaves encoding, packets and the two shares at their defaults."""

    preset_kind: ClassVar[str | None] = "link"

    lane_bandwidth: Bandwidth
    """Raw line rate of one lane in one direction."""
    lanes: Count = 1
    """Lanes side by side."""
    encoding_bits: Count = 1
    """Payload bits in a line-code block of `line_bits`."""
    line_bits: Count = 1
    """Bits on the line for `encoding_bits` of payload."""
    packet_payload: Size = 1
    """Most payload bytes of a packet from the first end to the second."""
    return_payload: Size | None = None
    """Most payload bytes of a packet back, where that differs: a device's reads of host memory are
    answered in smaller completions than the writes it may post."""
    packet_overhead: SizeOrZero = 0
    """Bytes of framing, sequence number, header and checksum around a packet's payload."""
    flow_control_frac: Frac = 0.0
    """Share of the encoded rate spent on acknowledgements and credit updates."""
    streaming_frac: PositiveFrac = 1.0
    """Share of what is left that long transfers reach (turnarounds, row misses, refresh)."""
    duplex: Literal["full", "half"]
    """Full: each direction has the whole bandwidth. Half: both share it."""
    latency: Time
    """From the first byte sent to the first byte received."""
    setup: Time
    """Fixed cost of one transfer before its first byte: descriptor, doorbell, engine start."""
    energy: EnergyPerBit
    """Dynamic energy per payload bit."""
    staging: Staging | None = None
    """How pageable host memory is reached; pinned memory needs none."""

    @model_validator(mode="after")
    def _leave_bandwidth(self) -> Self:
        if self.encoding_bits > self.line_bits:
            raise ValueError("encoding_bits must not exceed line_bits")
        if self.flow_control_frac >= 1.0:
            raise ValueError("flow_control_frac must be below 1")
        return self


class LinkGroup(Spec):
    """Equal links between two kinds of device."""

    name: str
    """Name of the link; with several, each is named with its index (channel0, channel1)."""
    link: LinkSpec
    """What each of them is."""
    ends: tuple[str, str]
    """Two device kinds (or names). A kind with several devices, such as ``ndp`` for ndp0, ndp1, is
    spread over the links in contiguous blocks. ``down`` leads from the first end to the second. The
    same kind twice is a switch: every device has a port of its own."""
    count: Count = 1
    """How many links."""
