"""Frames as no kernel would send them, sent as they are: what an attacker on a server can do.

Each carries a mark, eight bytes and a number, so that a witness knows it wherever it turns up and
whatever has become of its headers (``experiments.measure.witness.Marked``).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller.core.matching import ICMP, TCP
from controller.frames import Datagram, build, checksum, checksummed, ipv4_header, octets
from topologies.emulation import netns

__all__ = [
    "Forged",
    "arp_reply",
    "echo",
    "fragment",
    "neighbour_advertisement",
    "on_the_wire",
    "router_advertisement",
    "segment",
    "send",
    "tagged",
]

_BROADCAST = b"\xff" * 6
_SYN_ACK = 0x12
_IP = 14  # where IPv4 begins in an untagged frame


@dataclass(frozen=True, slots=True)
class Forged:
    """A datagram that claims to be this; ``frame`` gives its bytes, both checksums right."""

    eth_src: str
    eth_dst: str
    source: IPv4Address
    target: IPv4Address
    source_port: int
    target_port: int = 9
    mark: bytes = b""

    def frame(self) -> bytes:
        """The bytes."""
        return build(
            Datagram(
                octets(self.eth_src),
                octets(self.eth_dst),
                self.source,
                self.target,
                self.source_port,
                self.target_port,
                self.mark,
            )
        )


def tagged(frame: bytes, vlan: int) -> bytes:
    """The frame behind an 802.1Q tag."""
    return frame[:12] + struct.pack("!HH", 0x8100, vlan) + frame[12:]


def fragment(frame: bytes, more: bool, offset: int) -> bytes:
    """The IPv4 packet of a frame as a fragment; ``offset`` in units of eight bytes (RFC 791)."""
    head = frame[_IP : _IP + 20]
    place = struct.pack("!H", (0x2000 if more else 0) | offset)
    return frame[:_IP] + checksummed(head[:6] + place + head[8:]) + frame[_IP + 20 :]


def echo(like: Forged, identifier: int) -> bytes:
    """An ICMP echo request (RFC 792) between the ends of a datagram."""
    body = struct.pack("!HH", identifier, 1) + like.mark
    message = b"\x08\0" + checksum(b"\x08\0\0\0" + body).to_bytes(2, "big") + body
    head = ipv4_header(like.source, like.target, ICMP, len(message))
    return octets(like.eth_dst) + octets(like.eth_src) + b"\x08\0" + head + message


def segment(like: Forged) -> bytes:
    """A TCP segment (RFC 9293) with the ends of a datagram: an answer to a SYN."""
    ports = struct.pack("!HH", like.source_port, like.target_port)
    body = ports + struct.pack("!IIBBHHH", 1, 1, 5 << 4, _SYN_ACK, 0xFFFF, 0, 0) + like.mark
    pseudo = like.source.packed + like.target.packed + struct.pack("!BBH", 0, TCP, len(body))
    body = body[:16] + checksum(pseudo + body).to_bytes(2, "big") + body[18:]
    head = ipv4_header(like.source, like.target, TCP, len(body))
    return octets(like.eth_dst) + octets(like.eth_src) + b"\x08\0" + head + body


def arp_reply(like: Forged, claimed: IPv4Address) -> bytes:
    """Tells everybody that ``claimed`` is at this MAC address (RFC 826)."""
    own = octets(like.eth_src)
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    body = own + claimed.packed + _BROADCAST + like.target.packed
    return _BROADCAST + own + b"\x08\x06" + head + body + like.mark


def router_advertisement(like: Forged) -> bytes:
    """Tells everybody to send by way of this host (RFC 4861 section 4.2); checksum left out."""
    return _to_all_nodes(like, b"\x86\0\0\0\x40\0\x07\x08" + bytes(8))


def neighbour_advertisement(like: Forged, claimed: IPv6Address) -> bytes:
    """Tells everybody that ``claimed`` is at this MAC address (RFC 4861 section 4.4); the same."""
    option = b"\x02\x01" + octets(like.eth_src)
    return _to_all_nodes(like, b"\x88\0\0\0\x20\0\0\0" + claimed.packed + option)


def _to_all_nodes(like: Forged, message: bytes) -> bytes:
    """An ICMPv6 message from this host's link-local address, and the mark behind it."""
    own = octets(like.eth_src)
    link_local = bytes.fromhex("fe80") + bytes(8) + own
    everybody = bytes.fromhex("ff02") + bytes(13) + b"\x01"
    body = message + like.mark
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    target = bytes.fromhex("333300000001")
    return target + own + b"\x86\xdd" + head + link_local + everybody + body


def on_the_wire(host: str) -> socket.socket:
    """A socket that sends whole frames from a host. Raises FileNotFoundError if there is none."""
    with netns.inside(host):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("eth0", 0))
    return raw


def send(host: str, frames: Iterable[bytes]) -> None:
    """Put frames on a host's wire. Raises FileNotFoundError if there is no such host, OSError."""
    with on_the_wire(host) as raw:
        for frame in frames:
            raw.send(frame)
