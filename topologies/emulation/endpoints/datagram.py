"""Answers datagrams from the very address that was reached."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Answer",
    "Datagram",
    "answer_one",
    "answer_waiting",
    "answer_with",
    "tell_reached",
    "waiting",
]

Answer = Callable[[bytes, int], bytes | None]
"""From a datagram and the port that it came from to its answer, if it gets one."""

IP_PKTINFO = 8
IPV6_FREEBIND = 78

_AT_ONCE = 64
"""Datagrams per wake-up, so that a flood on one host does not starve the others."""

_Control = tuple[int, int, bytes]


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram, who sent it, and what the kernel says about it (cmsg(3))."""

    data: bytes
    sender: Any
    """As the socket module has it: address and port first."""
    control: tuple[_Control, ...]

    @property
    def reached(self) -> str | None:
        """The address to which it was sent; None if the kernel does not say."""
        for level, kind, info in self.control:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                return socket.inet_ntop(socket.AF_INET, info[8:12])
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                return socket.inet_ntop(socket.AF_INET6, info[:16])
        return None


def tell_reached(sock: socket.socket) -> None:
    """Have the kernel say at which address each datagram arrived, and let an answer come from it.

    IPv6 by itself sends only from addresses of interfaces, which those of AnyIP are not.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def waiting(sock: socket.socket) -> Iterator[Datagram]:
    """What waits in a non-blocking socket to which ``tell_reached`` was done, some at once."""
    for _ in range(_AT_ONCE):
        try:
            data, control, _, sender = sock.recvmsg(65_535, socket.CMSG_SPACE(20))
        except OSError:  # nothing more, or an earlier answer was refused
            return
        yield Datagram(data, sender, tuple(control))


def answer_waiting(sock: socket.socket, answer: Answer) -> None:
    """Answer what waits in a socket that takes everybody's datagrams."""
    for datagram in waiting(sock):
        answer_one(sock, answer, datagram)


def answer_one(sock: socket.socket, answer: Answer, datagram: Datagram) -> None:
    """Answer from the address reached: a host with many would answer from its first one."""
    answered = answer(datagram.data, datagram.sender[1])
    if answered is None:
        return
    for level, kind, info in datagram.control:
        source = _from_reached(level, kind, info)
        if source is not None:
            # No way back (a link is down, a full buffer): a datagram may be lost.
            with contextlib.suppress(OSError):
                sock.sendmsg([answered], [(level, kind, source)], 0, datagram.sender)


def answer_with(connected: socket.socket, answer: Answer, datagram: Datagram) -> None:
    """Answer with a socket that has but one peer."""
    answered = answer(datagram.data, datagram.sender[1])
    if answered is not None:
        with contextlib.suppress(OSError):  # as above
            connected.send(answered)


def _from_reached(level: int, kind: int, info: bytes) -> bytes | None:
    """What makes an answer come from the address that was reached."""
    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
        return struct.pack("=i4s4s", 0, info[8:12], bytes(4))
    if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
        return struct.pack("=16si", info[:16], 0)
    return None
