"""IPv4 over Ethernet, and UDP over it, as the controller needs them: built and taken apart.

Sources: RFC 791 (no options on building), RFC 768, RFC 1071 (checksum).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct, unpack
from typing import NamedTuple

from controller.core.matching import IPV4, UDP
from topologies.plan import GATEWAY_MAC

__all__ = [
    "ETHERNET",
    "GATEWAY",
    "IPV4_HEADER",
    "Datagram",
    "FrameError",
    "Ipv4",
    "build",
    "checksum",
    "checksummed",
    "ipv4",
    "ipv4_header",
    "ipv4_packet",
    "octets",
    "parse",
    "segment_checksum",
]

ETHERNET = Struct("!6s6sH")
"""Destination, source, what is carried."""

IPV4_HEADER = Struct("!BBHHHBBH4s4s")
"""Without options."""

_UDP = Struct("!HHHH")
_PSEUDO = Struct("!4s4sBBH")
_OFFSET, _MORE = 0x1FFF, 0x2000


class FrameError(ValueError):
    """Bytes that are not what they should be; the text says why."""


class Ipv4(NamedTuple):
    """An IPv4 packet taken apart. ``offset`` is that of a fragment, ``more`` that others follow."""

    source: bytes
    target: bytes
    protocol: int
    offset: int
    more: bool
    header: bytes
    payload: bytes

    @property
    def fragment(self) -> bool:
        """Whether it is a part of a packet."""
        return self.more or self.offset > 0


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram with the addresses around it."""

    eth_src: bytes
    eth_dst: bytes
    source: IPv4Address
    target: IPv4Address
    source_port: int
    target_port: int
    payload: bytes


def octets(mac: str) -> bytes:
    """The six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


GATEWAY = octets(GATEWAY_MAC)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that contains a right one."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def segment_checksum(source: bytes, target: bytes, protocol: int, segment: bytes) -> int:
    """The checksum of TCP and UDP, which covers both addresses too (RFC 9293, RFC 768)."""
    return checksum(_PSEUDO.pack(source, target, 0, protocol, len(segment)) + segment)


def checksummed(header: bytes) -> bytes:
    """An IPv4 header with the checksum that it should have (RFC 791)."""
    bare = header[:10] + b"\0\0" + header[12:]
    return header[:10] + checksum(bare).to_bytes(2, "big") + header[12:]


def ipv4_header(
    source: IPv4Address, target: IPv4Address, protocol: int, length: int, ttl: int = 64
) -> bytes:
    """The header, without options, of a packet that carries ``length`` bytes."""
    ends = source.packed, target.packed
    return checksummed(
        IPV4_HEADER.pack(0x45, 0, IPV4_HEADER.size + length, 0, 0, ttl, protocol, 0, *ends)
    )


def ipv4(frame: bytes) -> Ipv4:
    """Take a frame with IPv4 apart, without what pads it. Raises FrameError.

    Whether the checksum of its header is right is not looked at.
    """
    if len(frame) < ETHERNET.size or ETHERNET.unpack_from(frame)[2] != IPV4:
        raise FrameError("no IPv4 packet")
    return ipv4_packet(frame[ETHERNET.size :])


def ipv4_packet(packet: bytes, *, cut: bool = False) -> Ipv4:
    """Take a packet apart, as ``ipv4``; of one that was ``cut`` all that is left is its own."""
    if len(packet) < IPV4_HEADER.size:
        raise FrameError("no IPv4 packet")
    first, _, total, _, fragment, _, protocol, _, source, target = IPV4_HEADER.unpack_from(packet)
    head, end = (first & 0x0F) * 4, len(packet) if cut else total
    if first >> 4 != 4 or not IPV4_HEADER.size <= head <= end <= len(packet):
        raise FrameError(f"IPv4 lengths {head} and {end} do not fit {len(packet)} bytes")
    parts = packet[:head], packet[head:end]
    return Ipv4(source, target, protocol, fragment & _OFFSET, bool(fragment & _MORE), *parts)


def build(datagram: Datagram, ttl: int = 64) -> bytes:
    """The frame's bytes, with both checksums, without trailer."""
    length = _UDP.size + len(datagram.payload)
    ports = datagram.source_port, datagram.target_port
    ends = datagram.source.packed, datagram.target.packed
    bare = _UDP.pack(*ports, length, 0) + datagram.payload
    # A computed zero is sent as all ones: zero means "no checksum" (RFC 768).
    check = segment_checksum(*ends, UDP, bare) or 0xFFFF
    ip = ipv4_header(datagram.source, datagram.target, UDP, length, ttl)
    ethernet = ETHERNET.pack(datagram.eth_dst, datagram.eth_src, IPV4)
    return ethernet + ip + _UDP.pack(*ports, length, check) + datagram.payload


def parse(frame: bytes) -> Datagram:
    """Take a frame with UDP apart; both checksums must be right. Raises FrameError."""
    packet = ipv4(frame)
    if packet.protocol != UDP or len(packet.payload) < _UDP.size:
        raise FrameError("no UDP")
    if packet.fragment:
        raise FrameError("a fragment")
    if checksum(packet.header):
        raise FrameError("wrong IPv4 checksum")
    source_port, target_port, length, check = _UDP.unpack_from(packet.payload)
    datagram = packet.payload[:length]
    if not _UDP.size <= length == len(datagram):
        raise FrameError(f"UDP length {length} does not fit {len(packet.payload)} bytes")
    if check and segment_checksum(packet.source, packet.target, UDP, datagram):
        raise FrameError("wrong UDP checksum")
    eth_dst, eth_src, _ = ETHERNET.unpack_from(frame)
    ends = IPv4Address(packet.source), IPv4Address(packet.target)
    return Datagram(eth_src, eth_dst, *ends, source_port, target_port, datagram[_UDP.size :])
