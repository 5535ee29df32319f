"""What a link carries once its protocol has taken its share."""

from fractions import Fraction
from math import floor

from ndpsim.link.spec import LinkSpec


def effective_bytes_per_s(link: LinkSpec) -> int:
    """Payload bytes per second in one direction for transfers of whole packets."""
    encoded = Fraction(link.lane_bandwidth * link.lanes * link.encoding_bits, link.line_bits)
    packets = Fraction(link.packet_payload, link.packet_payload + link.packet_overhead)
    shares = (1 - Fraction(str(link.flow_control_frac))) * Fraction(str(link.streaming_frac))
    return max(1, floor(encoded * packets * shares))
