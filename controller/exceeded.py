"""What a router says of a packet whose hops have run out: ICMP time exceeded, by either family.

Pure: bytes in, bytes out, no socket, no Ryu. Sources: RFC 792; RFC 1122 section 3.2.2 and RFC 4443
section 2.4 (what may be answered); RFC 1812 section 4.3.2.3 and RFC 4443 section 3.3 (how much is
quoted).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from controller.core.matching import ECHO, ECHO_REPLY, ICMP, ICMP6, IPV4, IPV6
from controller.frames import FrameError, checksum, ipv4_header
from topologies.family import Address

__all__ = ["exceeded"]

_ETHERNET = Struct("!12sH")
_IPV4 = Struct("!BxHxxHxBxx4s4s")
_IPV6 = Struct("!IHBB16s16s")
_ICMP = Struct("!BBHI")
_OFFSET = 0x1FFF  # of a fragment
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
    if len(frame) < _ETHERNET.size:
        raise FrameError("no Ethernet frame")
    _, kind = _ETHERNET.unpack_from(frame)
    packet = frame[_ETHERNET.size :]
    if kind == IPV4:
        answer = _answer(packet, at)
    elif kind == IPV6:
        answer = _answer6(packet, at6)
    else:
        raise FrameError("no IP packet")
    return frame[: _ETHERNET.size] + answer


def _answer(packet: bytes, at: IPv4Address) -> bytes:
    if len(packet) < _IPV4.size:
        raise FrameError("no IPv4 packet")
    first, total, fragment, protocol, source, target = _IPV4.unpack_from(packet)
    head = (first & 0x0F) * 4
    if first >> 4 != 4 or not _IPV4.size <= head <= total <= len(packet):
        raise FrameError(f"IPv4 lengths {head} and {total} do not fit {len(packet)} bytes")
    said = packet[head:total]
    error = protocol == ICMP and said[:1] not in (bytes((ECHO,)), bytes((ECHO_REPLY,)))
    _check(IPv4Address(source), IPv4Address(target), silent=error or bool(fragment & _OFFSET))
    message = _message(_EXCEEDED, packet[:total][: _SMALLEST - _IPV4.size - _ICMP.size])
    return ipv4_header(at, IPv4Address(source), ICMP, len(message), _HOPS) + message


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
