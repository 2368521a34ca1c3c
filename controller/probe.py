"""Health checks as frames: an opening SYN from a server's own switch, and what it answers.

The check asks the service itself, at its own address, on the way that clients' packets take last.
It comes from the gateway's address, so no client can be meant by the answer, and the connection is
never opened: a SYN and ACK is answered with a reset (RFC 9293 section 3.5).
"""

from __future__ import annotations

from ipaddress import IPv4Address
from struct import Struct

from controller.core.matching import HEALTH_PORT, IPV4, SERVICE_PORT, TCP
from controller.frames import (
    ETHERNET,
    GATEWAY,
    FrameError,
    ipv4,
    ipv4_header,
    octets,
    segment_checksum,
)
from topologies.plan import GATEWAY_ADDRESS, HostPlan

_TCP = Struct("!HHIIBBHHH")
_SYN, _RST, _ACK = 0x02, 0x04, 0x10


def ask(server: HostPlan, service: IPv4Address) -> bytes:
    """The frame that asks whether a server serves."""
    return _segment(server, service, 0, _SYN)


def answers(frame: bytes) -> bool | None:
    """Whether a server's answer says that it serves; None if it is no answer.

    Raises FrameError for bytes that are no TCP segment.
    """
    segment = ipv4(frame).payload
    if len(segment) < _TCP.size:
        raise FrameError(f"{len(segment)} bytes are too few for TCP")
    flags = _TCP.unpack_from(segment)[5]
    if flags & _RST:
        return False
    return True if flags & (_SYN | _ACK) == _SYN | _ACK else None


def hang_up(server: HostPlan, service: IPv4Address) -> bytes:
    """The frame that ends what `ask` began."""
    return _segment(server, service, 1, _RST)


def _segment(server: HostPlan, service: IPv4Address, sequence: int, flags: int) -> bytes:
    ends = GATEWAY_ADDRESS.packed, service.packed
    header = _TCP.pack(HEALTH_PORT, SERVICE_PORT, sequence, 0, 5 << 4, flags, 65535, 0, 0)
    check = segment_checksum(*ends, TCP, header).to_bytes(2, "big")
    segment = header[:16] + check + header[18:]
    ip = ipv4_header(GATEWAY_ADDRESS, service, TCP, len(segment))
    return ETHERNET.pack(octets(server.mac), GATEWAY, IPV4) + ip + segment
