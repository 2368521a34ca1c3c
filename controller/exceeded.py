"""What a router says of a packet whose hops have run out: ICMP time exceeded, by either family.

Pure: bytes in, bytes out, no socket, no Ryu. Sources: RFC 792; RFC 1122 section 3.2.2 and RFC 4443
section 2.4 (what may be answered); RFC 1812 section 4.3.2.3 and RFC 4443 section 3.3 (how much is
quoted).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from controller.core.matching import ECHO, ECHO_REPLY, ICMP, ICMP6, IPV6
from controller.frames import ETHERNET, IPV4_HEADER, FrameError, Ipv4, checksum, ipv4, ipv4_header
from topologies.family import Address

__all__ = ["exceeded"]

_IPV6 = Struct("!IHBB16s16s")
_ICMP = Struct("!BBHI")
_HOPS = 64
_BROADCAST = IPv4Address("255.255.255.255")

_EXCEEDED, _EXCEEDED6 = 11, 3
_SMALLEST, _SMALLEST6 = 576, 1280  # a message is no longer than what every link takes
_INFORMATIONAL6 = 128  # ICMPv6 types from here on are no errors


def exceeded(frame: bytes, at: IPv4Address, at6: IPv6Address) -> bytes:
    """The answer to the sender of ``frame``, from a router's address of the packet's family.

    MAC addresses stay as they were. Raises FrameError for what is damaged, and for what must not be
    answered: an error, a fragment without its beginning, ends of which one is no single host.
    """
    ethernet, packet = frame[: ETHERNET.size], frame[ETHERNET.size :]
    if ethernet[12:] == IPV6.to_bytes(2, "big"):
        return ethernet + _answer6(packet, at6)
    return ethernet + _answer(ipv4(frame), at)


def _answer(packet: Ipv4, at: IPv4Address) -> bytes:
    source, target = IPv4Address(packet.source), IPv4Address(packet.target)
    said = packet.payload[:1]
    error = packet.protocol == ICMP and said not in (bytes((ECHO,)), bytes((ECHO_REPLY,)))
    _check(source, target, silent=error or packet.offset > 0)
    quoted = (packet.header + packet.payload)[: _SMALLEST - IPV4_HEADER.size - _ICMP.size]
    message = _message(_EXCEEDED, quoted)
    return ipv4_header(at, source, ICMP, len(message), _HOPS) + message


def _answer6(packet: bytes, at: IPv6Address) -> bytes:
    if len(packet) < _IPV6.size:
        raise FrameError("no IPv6 packet")
    first, length, protocol, _, source, target = _IPV6.unpack_from(packet)
    total = _IPV6.size + length
    if first >> 28 != 6 or total > len(packet):
        raise FrameError(f"IPv6 length {length} does not fit {len(packet)} bytes")
    error = protocol == ICMP6 and packet[_IPV6.size : total][:1] < bytes((_INFORMATIONAL6,))
    _check(IPv6Address(source), IPv6Address(target), silent=error)
    quoted = packet[:total][: _SMALLEST6 - _IPV6.size - _ICMP.size]
    size = _ICMP.size + len(quoted)
    pseudo = at.packed + source + Struct("!II").pack(size, ICMP6)
    header = _IPV6.pack(6 << 28, size, ICMP6, _HOPS, at.packed, source)
    return header + _message(_EXCEEDED6, quoted, pseudo)


def _check(source: Address, target: Address, *, silent: bool) -> None:
    """Raise FrameError unless a packet may be answered."""
    nobody = source.is_unspecified or source.is_loopback or source.is_multicast
    if silent or nobody or target.is_multicast or _BROADCAST in (source, target):
        raise FrameError("nobody may answer it")


def _message(kind: int, quoted: bytes, pseudo: bytes = b"") -> bytes:
    """An ICMP message that quotes a packet; the checksum covers what ``pseudo`` says too."""
    check = checksum(pseudo + _ICMP.pack(kind, 0, 0, 0) + quoted)
    return _ICMP.pack(kind, 0, check, 0) + quoted
