"""UDP over IPv4 over Ethernet, as the controller needs it for DHCP: built and taken apart.

Sources: RFC 791 (no options on building), RFC 768, RFC 1071 (checksum).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct, unpack

__all__ = [
    "Datagram",
    "FrameError",
    "build",
    "checksum",
    "checksummed",
    "ipv4_header",
    "octets",
    "parse",
]

_ETHERNET = Struct("!6s6sH")
_IPV4 = Struct("!BBHHHBBH4s4s")
_UDP = Struct("!HHHH")
_PSEUDO = Struct("!4s4sBBH")
_ETH_TYPE_IPV4 = 0x0800
_PROTOCOL_UDP = 17
_FRAGMENT = 0x3FFF  # more-fragments bit and offset


class FrameError(ValueError):
    """Bytes that are not one whole UDP datagram in IPv4 in Ethernet; the text says why."""


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


def build(datagram: Datagram, ttl: int = 64) -> bytes:
    """The frame's bytes, with both checksums, without trailer."""
    length = _UDP.size + len(datagram.payload)
    ports = datagram.source_port, datagram.target_port
    ends = datagram.source.packed, datagram.target.packed
    pseudo = _PSEUDO.pack(*ends, 0, _PROTOCOL_UDP, length)
    # A computed zero is sent as all ones: zero means "no checksum" (RFC 768).
    check = checksum(pseudo + _UDP.pack(*ports, length, 0) + datagram.payload) or 0xFFFF
    ip = ipv4_header(datagram.source, datagram.target, _PROTOCOL_UDP, length, ttl)
    ethernet = _ETHERNET.pack(datagram.eth_dst, datagram.eth_src, _ETH_TYPE_IPV4)
    return ethernet + ip + _UDP.pack(*ports, length, check) + datagram.payload


def parse(frame: bytes) -> Datagram:
    """Take a frame apart; both checksums must be right. Raises FrameError."""
    if len(frame) < _ETHERNET.size + _IPV4.size:
        raise FrameError(f"{len(frame)} bytes are too few for IPv4")
    eth_dst, eth_src, eth_type = _ETHERNET.unpack_from(frame)
    packet = frame[_ETHERNET.size :]
    first, _, total, _, fragment, _, protocol, _, source, target = _IPV4.unpack_from(packet)
    head = (first & 0x0F) * 4
    if eth_type != _ETH_TYPE_IPV4 or first >> 4 != 4 or protocol != _PROTOCOL_UDP:
        raise FrameError("not UDP over IPv4")
    if head < _IPV4.size or total < head + _UDP.size or total > len(packet):
        raise FrameError(f"IPv4 lengths {head} and {total} do not fit {len(packet)} bytes")
    if fragment & _FRAGMENT:
        raise FrameError("a fragment")
    if checksum(packet[:head]):
        raise FrameError("wrong IPv4 checksum")
    source_port, target_port, length, check = _UDP.unpack_from(packet, head)
    if length < _UDP.size or head + length > total:
        raise FrameError(f"UDP length {length} does not fit {total - head} bytes")
    datagram = packet[head : head + length]
    if check and checksum(_PSEUDO.pack(source, target, 0, _PROTOCOL_UDP, length) + datagram):
        raise FrameError("wrong UDP checksum")
    return Datagram(
        eth_src,
        eth_dst,
        IPv4Address(source),
        IPv4Address(target),
        source_port,
        target_port,
        datagram[_UDP.size :],
    )
