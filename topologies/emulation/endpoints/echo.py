"""UDP echo (RFC 862) that answers from the very address that was reached."""

from __future__ import annotations

import contextlib
import socket
import struct

__all__ = ["ECHO_PORT", "IP_PKTINFO", "echo_waiting"]

ECHO_PORT = 7
IP_PKTINFO = 8

_AT_ONCE = 64
"""Datagrams per wake-up, so that a flood on one host does not starve the others."""


def echo_waiting(sock: socket.socket) -> None:
    """Send back what waits in a non-blocking socket that has IP_PKTINFO set.

    A host with many addresses would answer from its first one; the control message pins the
    source to the address reached. Datagrams from the echo port itself are dropped, for two
    echo servers would answer each other for ever.
    """
    for _ in range(_AT_ONCE):
        try:
            data, control, _, sender = sock.recvmsg(65_535, socket.CMSG_SPACE(12))
        except BlockingIOError:
            return
        if sender[1] == ECHO_PORT:
            continue
        for level, kind, info in control:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                reached = info[8:12]
                source = struct.pack("=i4s4s", 0, reached, bytes(4))
                # No way back (a link is down, a full buffer): a datagram may be lost.
                with contextlib.suppress(OSError):
                    sock.sendmsg([data], [(level, kind, source)], 0, sender)
