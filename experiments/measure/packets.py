"""Bytes of the packets that probes send and read: pure functions."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from topologies.family import Family

__all__ = [
    "ICMP6_ECHO_REPLY",
    "ICMP_ECHO_REPLY",
    "ICMP_ECHO_REQUEST",
    "TCP",
    "UDP",
    "Headers",
    "Stamp",
    "checksum",
    "echo_request",
    "headers",
]

ICMP_ECHO_REPLY = 0
ICMP_ECHO_REQUEST = 8
ICMP6_ECHO_REQUEST = 128
ICMP6_ECHO_REPLY = 129
TCP = 6
UDP = 17


def checksum(data: bytes) -> int:
    """The Internet checksum of ``data`` (RFC 1071): 16 bits, as it is written in a header."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int, payload: bytes, family: Family = 4) -> bytes:
    """An ICMP echo request without its IP header (RFC 792; RFC 4443 section 4.1).

    Both numbers wrap at 16 bits. By IPv6 the checksum is the kernel's, as it holds addresses.
    """
    fields = (identifier & 0xFFFF, sequence & 0xFFFF)
    if family == 6:
        return struct.pack("!BBHHH", ICMP6_ECHO_REQUEST, 0, 0, *fields) + payload
    blank = struct.pack("!BBHHH", ICMP_ECHO_REQUEST, 0, 0, *fields)
    return struct.pack("!BBHHH", ICMP_ECHO_REQUEST, 0, checksum(blank + payload), *fields) + payload


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a probe carries in its payload: whose it is and which one.

    ``token`` is 8 bytes that no other run uses, so replies are known by content and neither
    other probes nor stray packets are mistaken for them.
    """

    token: bytes
    probe: int
    sequence: int

    SIZE = 16

    def payload(self, size: int) -> bytes:
        """The stamp, padded with zeros to ``size`` bytes. Raises ValueError if it does not fit."""
        if size < self.SIZE:
            raise ValueError(f"a payload of {size} bytes is too small: use {self.SIZE} or more")
        stamp = self.token + struct.pack("!II", self.probe, self.sequence)
        return stamp.ljust(size, b"\0")

    @classmethod
    def find(cls, token: bytes, packet: bytes) -> Stamp | None:
        """The stamp with ``token`` anywhere in ``packet``, whatever headers come first."""
        start = packet.find(token)
        if start < 0 or len(packet) < start + cls.SIZE:
            return None
        probe, sequence = struct.unpack_from("!II", packet, start + 8)
        return cls(token, probe, sequence)


@dataclass(frozen=True, slots=True)
class Headers:
    """What an IPv4 packet says of itself; ports are None where the packet shows none."""

    protocol: int
    source: IPv4Address
    destination: IPv4Address
    source_port: int | None
    destination_port: int | None
    length: int


def headers(packet: bytes) -> Headers:
    """Read the IPv4 header (RFC 791) and the ports of TCP or UDP.

    Ports are None in a non-first fragment, in other protocols and in a packet cut too short.
    Raises ValueError if this is not an IPv4 header.
    """
    if len(packet) < 20 or packet[0] >> 4 != 4:
        raise ValueError("not an IPv4 packet")
    length, _, fragment, _, protocol = struct.unpack_from("!HHHBB", packet, 2)
    start = (packet[0] & 0x0F) * 4
    ports: tuple[int | None, int | None] = (None, None)
    shown = protocol in (TCP, UDP) and not fragment & 0x1FFF and len(packet) >= start + 4
    if shown:
        ports = struct.unpack_from("!HH", packet, start)
    return Headers(protocol, IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), *ports, length)
