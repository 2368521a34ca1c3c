"""Which port of a shared address an ICMP message is about. Pure: bytes in, no socket, no Ryu.

ICMP has no ports, but what it quotes has, and so has an echo: its identifier stands for a port
(RFC 7597 section 8.2, RFC 6346 section 2.3). Sources: RFC 792; RFC 1812 section 4.3.2.3 (at
least eight bytes behind the quoted header); RFC 5508 section 4.2 (what is quoted is what was sent).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import unpack_from

from controller.core.matching import ECHO, ECHO_REPLY, ICMP, ICMP_ERRORS, TCP, UDP
from controller.frames import FrameError, checksum, ipv4, ipv4_packet

__all__ = ["About", "about", "redirected"]

_PORTED = frozenset({TCP, UDP})


@dataclass(frozen=True, slots=True)
class About:
    """``address`` and ``port`` are the borrower's; ``outbound`` tells that the borrower sent it."""

    address: IPv4Address
    port: int
    outbound: bool


def about(frame: bytes) -> About:
    """Whose message this is. Raises FrameError for what is damaged, or about no port."""
    packet = ipv4(frame)
    message = packet.payload
    if packet.protocol != ICMP or packet.fragment or checksum(packet.header):
        raise FrameError("no whole ICMP message")
    if len(message) < 8 or checksum(message):
        raise FrameError("an ICMP message that is damaged")
    source, target = IPv4Address(packet.source), IPv4Address(packet.target)
    kind, _, _, identifier = unpack_from("!BBHH", message)
    if kind in (ECHO, ECHO_REPLY):
        outbound = kind == ECHO
        return About(source if outbound else target, identifier, outbound)
    if kind not in ICMP_ERRORS:
        raise FrameError(f"ICMP type {kind} is about no port")
    return About(target, _quoted(message[8:], packet.target), outbound=False)


def redirected(frame: bytes, eth_src: bytes, eth_dst: bytes) -> bytes:
    """The same frame with other MAC addresses."""
    return eth_dst + eth_src + frame[12:]


def _quoted(packet: bytes, borrower: bytes) -> int:
    """The port from which a quoted packet was sent. Raises FrameError."""
    quoted = ipv4_packet(packet, cut=True)
    if len(quoted.payload) < 8:
        raise FrameError("a quotation that is too short")
    if quoted.source != borrower:
        raise FrameError("it quotes what somebody else sent")
    if quoted.offset:
        raise FrameError("it quotes a fragment without ports")
    if quoted.protocol in _PORTED:
        return int(unpack_from("!H", quoted.payload)[0])
    if quoted.protocol == ICMP and quoted.payload[0] == ECHO:
        return int(unpack_from("!H", quoted.payload, 4)[0])
    raise FrameError(f"it quotes protocol {quoted.protocol}, which has no ports")
