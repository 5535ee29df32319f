"""What a link carries once its protocol has taken its share, and how long one transfer takes."""

from fractions import Fraction
from math import floor

from ndpsim.link.spec import LinkSpec
from ndpsim.units import ps_for


def effective_bytes_per_s(link: LinkSpec, *, back: bool = False) -> int:
    """Payload bytes per second in one direction for transfers of whole packets.

    `back` asks for the direction from the second end to the first.
    """
    encoded = Fraction(link.lane_bandwidth * link.lanes * link.encoding_bits, link.line_bits)
    payload = link.packet_payload
    if back and link.return_payload is not None:
        payload = link.return_payload
    packets = Fraction(payload, payload + link.packet_overhead)
    shares = (1 - Fraction(str(link.flow_control_frac))) * Fraction(str(link.streaming_frac))
    rate = max(1, floor(encoded * packets * shares))
    return min(rate, link.staging.bandwidth) if link.staging else rate


def setup_ps(link: LinkSpec) -> int:
    """Picoseconds from the order to transfer until the first byte leaves."""
    if link.staging is None:
        return link.setup
    return link.setup + ps_for(link.staging.piece, link.staging.bandwidth)


def transfer_ps(link: LinkSpec, n_bytes: int, *, back: bool = False) -> int:
    """Picoseconds of one transfer alone on an idle link: set-up, latency, bytes."""
    return setup_ps(link) + link.latency + ps_for(n_bytes, effective_bytes_per_s(link, back=back))
