"""UDP echo (RFC 862) that answers from the very address that was reached."""

from __future__ import annotations

import contextlib
import socket
import struct

__all__ = ["ECHO_PORT", "echo_waiting", "tell_reached"]

ECHO_PORT = 7
IP_PKTINFO = 8

_AT_ONCE = 64
"""Datagrams per wake-up, so that a flood on one host does not starve the others."""


def tell_reached(sock: socket.socket) -> None:
    """Have the kernel say at which address each datagram arrived."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def echo_waiting(sock: socket.socket) -> None:
    """Send back what waits in a non-blocking socket to which `tell_reached` was done.

    A host with many addresses would answer from its first one; the control message pins the
    source to the address reached. Datagrams from the echo port itself are dropped, for two
    echo servers would answer each other for ever.
    """
    for _ in range(_AT_ONCE):
        try:
            data, control, _, sender = sock.recvmsg(65_535, socket.CMSG_SPACE(20))
        except BlockingIOError:
            return
        if sender[1] == ECHO_PORT:
            continue
        for level, kind, info in control:
            source = _from_reached(level, kind, info)
            if source is not None:
                # No way back (a link is down, a full buffer): a datagram may be lost.
                with contextlib.suppress(OSError):
                    sock.sendmsg([data], [(level, kind, source)], 0, sender)


def _from_reached(level: int, kind: int, info: bytes) -> bytes | None:
    """What makes an answer come from the address that was reached."""
    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
        return struct.pack("=i4s4s", 0, info[8:12], bytes(4))
    if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
        return struct.pack("=16si", info[:16], 0)
    return None
