"""Health checks as frames: an opening SYN from a server's own switch, and what it answers.

The check asks the service itself, at its own address, on the way that clients' packets take last.
It comes from the gateway's address, so no client can be meant by the answer, and the connection is
never opened: a SYN and ACK is answered with a reset (RFC 9293 section 3.5).
"""

from __future__ import annotations

from ipaddress import IPv4Address
from struct import Struct

from controller.core.matching import HEALTH_PORT, SERVICE_PORT
from controller.frames import FrameError, checksum, ipv4_header, octets
from topologies.plan import GATEWAY_ADDRESS, GATEWAY_MAC, HostPlan

_TCP = Struct("!HHIIBBHHH")
_PSEUDO = Struct("!4s4sBBH")
_TCP_NUMBER, _SYN, _RST, _ACK = 6, 0x02, 0x04, 0x10
_ETHERNET, _IP_HEADER = 14, 20
_IPV4 = b"\x08\x00"


def ask(server: HostPlan, service: IPv4Address) -> bytes:
    """The frame that asks whether a server serves."""
    return _segment(server, service, 0, _SYN)


def answers(frame: bytes) -> bool | None:
    """Whether a server's answer says that it serves; None if it is no answer.

    Raises FrameError for bytes that are no TCP segment.
    """
    at = _ETHERNET + (frame[_ETHERNET] & 15) * 4 if len(frame) > _ETHERNET else 0
    if at < _ETHERNET + _IP_HEADER or len(frame) < at + _TCP.size:
        raise FrameError(f"{len(frame)} bytes are too few for TCP")
    flags = _TCP.unpack_from(frame, at)[5]
    if flags & _RST:
        return False
    return True if flags & (_SYN | _ACK) == _SYN | _ACK else None


def hang_up(server: HostPlan, service: IPv4Address) -> bytes:
    """The frame that ends what `ask` began."""
    return _segment(server, service, 1, _RST)


def _segment(server: HostPlan, service: IPv4Address, sequence: int, flags: int) -> bytes:
    ends = GATEWAY_ADDRESS.packed, service.packed
    header = _TCP.pack(HEALTH_PORT, SERVICE_PORT, sequence, 0, 5 << 4, flags, 65535, 0, 0)
    pseudo = _PSEUDO.pack(*ends, 0, _TCP_NUMBER, _TCP.size)
    check = checksum(pseudo + header).to_bytes(2, "big")
    segment = header[:16] + check + header[18:]
    ip = ipv4_header(GATEWAY_ADDRESS, service, _TCP_NUMBER, len(segment))
    return octets(server.mac) + octets(GATEWAY_MAC) + _IPV4 + ip + segment
