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
    "Datagram",
    "FrameError",
    "Ipv4",
    "build",
    "checksum",
    "checksummed",
    "ipv4",
    "ipv4_header",
    "octets",
    "parse",
]

ETHERNET = Struct("!6s6sH")
"""Destination, source, what is carried."""

_IPV4 = Struct("!BBHHHBBH4s4s")
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


def checksummed(header: bytes) -> bytes:
    """An IPv4 header with the checksum that it should have (RFC 791)."""
    bare = header[:10] + b"\0\0" + header[12:]
    return header[:10] + checksum(bare).to_bytes(2, "big") + header[12:]


def ipv4_header(
    source: IPv4Address, target: IPv4Address, protocol: int, length: int, ttl: int = 64
) -> bytes:
    """The header, without options, of a packet that carries ``length`` bytes."""
    ends = source.packed, target.packed
    return checksummed(_IPV4.pack(0x45, 0, _IPV4.size + length, 0, 0, ttl, protocol, 0, *ends))


def ipv4(frame: bytes) -> Ipv4:
    """Take a frame with IPv4 apart, without what pads it. Raises FrameError.

    Whether the checksum of its header is right is not looked at.
    """
    if len(frame) < ETHERNET.size + _IPV4.size or ETHERNET.unpack_from(frame)[2] != IPV4:
        raise FrameError("no IPv4 packet")
    packet = frame[ETHERNET.size :]
    first, _, total, _, fragment, _, protocol, _, source, target = _IPV4.unpack_from(packet)
    head = (first & 0x0F) * 4
    if first >> 4 != 4 or not _IPV4.size <= head <= total <= len(packet):
        raise FrameError(f"IPv4 lengths {head} and {total} do not fit {len(packet)} bytes")
    parts = packet[:head], packet[head:total]
    return Ipv4(source, target, protocol, fragment & _OFFSET, bool(fragment & _MORE), *parts)


def build(datagram: Datagram, ttl: int = 64) -> bytes:
    """The frame's bytes, with both checksums, without trailer."""
    length = _UDP.size + len(datagram.payload)
    ports = datagram.source_port, datagram.target_port
    ends = datagram.source.packed, datagram.target.packed
    pseudo = _PSEUDO.pack(*ends, 0, UDP, length)
    # A computed zero is sent as all ones: zero means "no checksum" (RFC 768).
    check = checksum(pseudo + _UDP.pack(*ports, length, 0) + datagram.payload) or 0xFFFF
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
    pseudo = _PSEUDO.pack(packet.source, packet.target, 0, UDP, length)
    if check and checksum(pseudo + datagram):
        raise FrameError("wrong UDP checksum")
    eth_dst, eth_src, _ = ETHERNET.unpack_from(frame)
    ends = IPv4Address(packet.source), IPv4Address(packet.target)
    return Datagram(eth_src, eth_dst, *ends, source_port, target_port, datagram[_UDP.size :])
