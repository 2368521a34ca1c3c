"""Which sockets a network namespace has, from the kernel itself (sock_diag(7)).

What `ss` shows, without a process for it, connections in TIME_WAIT included.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

__all__ = ["TCP", "UDP", "Flow", "SocketDiag"]

TCP: Final = socket.IPPROTO_TCP
UDP: Final = socket.IPPROTO_UDP

Flow = tuple[IPv4Address, IPv4Address, int]
"""From which address, to which one and which port; 0.0.0.0 port 0 without a destination."""

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_ERROR, _DONE = 2, 3
_REQUEST_DUMP = 0x301
_HEADER = struct.Struct("=IHHII")
_ASK = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2
_SOURCE_PORT = slice(4, 6)  # in struct inet_diag_msg
_FLOW = struct.Struct("!H4s12x4s")  # destination port, source, destination
_FLOW_AT = slice(6, 6 + _FLOW.size)
_ALL_BUT_LISTENING = 0xFFFFFFFF & ~(1 << 10)
_ANSWER_BYTES = 1 << 16


class SocketDiag:
    """A view of the network namespace in which it is made. Raises OSError without one."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
        self._socket.setblocking(False)  # the kernel answers while it is asked
        self._sequence = 0

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def count(self, protocol: int) -> Counter[Flow]:
        """How many IPv4 sockets of TCP or UDP, but for listening ones, each flow has.

        Raises OSError.
        """
        counted = Counter(message[_FLOW_AT] for message in self._messages(protocol))
        found: Counter[Flow] = Counter()
        for raw, many in counted.items():
            port, source, target = _FLOW.unpack(raw)
            found[IPv4Address(source), IPv4Address(target), port] = many
        return found

    def sources(self, protocol: int) -> set[tuple[IPv4Address, int]]:
        """The addresses and ports that those sockets have here. Raises OSError."""
        return {
            (IPv4Address(message[8:12]), int.from_bytes(message[_SOURCE_PORT], "big"))
            for message in self._messages(protocol)
        }

    def _messages(self, protocol: int) -> Iterator[bytes]:
        """A ``struct inet_diag_msg`` of each socket."""
        self._sequence += 1
        body = _ASK.pack(socket.AF_INET, protocol, 0, _ALL_BUT_LISTENING)
        length = _HEADER.size + len(body)
        head = _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, self._sequence, 0)
        self._socket.send(head + body)
        while True:
            data = self._socket.recv(_ANSWER_BYTES)
            at = 0
            while at < len(data):
                length, kind, *_ = _HEADER.unpack_from(data, at)
                if kind in (_DONE, _ERROR):
                    (error,) = struct.unpack_from("=i", data, at + _HEADER.size)
                    if error:
                        raise OSError(-error, "the kernel shows no sockets (CONFIG_INET_DIAG)")
                    return
                yield data[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
