"""Which port of a shared address an ICMP message is about. Pure: bytes in, no socket, no Ryu.

ICMP has no ports, but what it quotes has, and so has an echo: its identifier stands for a port
(RFC 7597 section 8.2, RFC 6346 section 2.3). Sources: RFC 792; RFC 1812 section 4.3.2.3 (at
least eight bytes behind the quoted header); RFC 5508 section 4.2 (what is quoted is what was sent).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct, unpack_from

from controller.core.matching import ECHO, ECHO_REPLY, ICMP, ICMP_ERRORS, TCP, UDP
from controller.frames import FrameError, checksum, ipv4

__all__ = ["About", "about", "redirected"]

_HEAD = Struct("!BBHHHBBH4s4s")
_PORTED = frozenset({TCP, UDP})
_OFFSET = 0x1FFF  # of a fragment


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
    return About(target, _quoted(message[8:], target), outbound=False)


def redirected(frame: bytes, eth_src: bytes, eth_dst: bytes) -> bytes:
    """The same frame with other MAC addresses."""
    return eth_dst + eth_src + frame[12:]


def _quoted(packet: bytes, borrower: IPv4Address) -> int:
    """The port from which a quoted packet was sent. Raises FrameError."""
    if len(packet) < _HEAD.size:
        raise FrameError("a quotation that is too short")
    first, _, _, _, fragment, _, protocol, _, source, _ = _HEAD.unpack_from(packet)
    head = (first & 0x0F) * 4
    if first >> 4 != 4 or head < _HEAD.size or len(packet) < head + 8:
        raise FrameError("a quotation that is too short")
    if IPv4Address(source) != borrower:
        raise FrameError("it quotes what somebody else sent")
    if fragment & _OFFSET:
        raise FrameError("it quotes a fragment without ports")
    if protocol in _PORTED:
        return int(unpack_from("!H", packet, head)[0])
    if protocol == ICMP and packet[head] == ECHO:
        return int(unpack_from("!H", packet, head + 4)[0])
    raise FrameError(f"it quotes protocol {protocol}, which has no ports")
