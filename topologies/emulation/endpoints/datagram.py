"""Answers datagrams from the very address that was reached."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

__all__ = ["Answer", "answer_waiting", "tell_reached"]

Answer = Callable[[bytes, int], bytes | None]
"""From a datagram and the port that it came from to its answer, if it gets one."""

IP_PKTINFO = 8
IPV6_FREEBIND = 78

_AT_ONCE = 64
"""Datagrams per wake-up, so that a flood on one host does not starve the others."""


def tell_reached(sock: socket.socket) -> None:
    """Have the kernel say at which address each datagram arrived, and let an answer come from it.

    IPv6 by itself sends only from addresses of interfaces, which those of AnyIP are not.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def answer_waiting(sock: socket.socket, answer: Answer) -> None:
    """Answer what waits in a non-blocking socket to which ``tell_reached`` was done.

    A host with many addresses would answer from its first one; the control message pins the
    source to the address reached.
    """
    for _ in range(_AT_ONCE):
        try:
            data, control, _, sender = sock.recvmsg(65_535, socket.CMSG_SPACE(20))
        except BlockingIOError:
            return
        answered = answer(data, sender[1])
        if answered is None:
            continue
        for level, kind, info in control:
            source = _from_reached(level, kind, info)
            if source is not None:
                # No way back (a link is down, a full buffer): a datagram may be lost.
                with contextlib.suppress(OSError):
                    sock.sendmsg([answered], [(level, kind, source)], 0, sender)


def _from_reached(level: int, kind: int, info: bytes) -> bytes | None:
    """What makes an answer come from the address that was reached."""
    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
        return struct.pack("=i4s4s", 0, info[8:12], bytes(4))
    if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
        return struct.pack("=16si", info[:16], 0)
    return None
