"""What reaches a host? Every TCP SYN, or every datagram, whoever is asked to believe what."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

from experiments.measure.bpf import Instruction, attach, tcp_syns
from experiments.measure.judge import ETH_P_IP, sniffer
from experiments.measure.kernel import SO_RCVBUFFORCE
from experiments.measure.packets import Headers, headers
from topologies.emulation import netns

__all__ = ["Marked", "Witness"]

_ROOM_BYTES = 4 << 20
ETH_P_ALL = 3


class Witness:
    """Sees what reaches some hosts, SYNs if it is told nothing else, until it is closed.

    It asks neither the controller nor the switches, nor the host's own TCP.
    """

    def __init__(
        self, hosts: Iterable[str], program: Callable[[], Sequence[Instruction]] = tcp_syns
    ) -> None:
        """Raises FileNotFoundError if a host does not exist."""
        self._sockets: list[socket.socket] = []
        with contextlib.ExitStack() as opening:
            for host in hosts:
                with netns.inside(host):
                    sock = sniffer()
                opening.enter_context(sock)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _ROOM_BYTES)
                attach(sock, program())
                sock.bind(("eth0", ETH_P_IP))
                self._sockets.append(sock)
            self._open = opening.pop_all()

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def arrived(self) -> list[Headers]:
        """The packets since the last call, those that were sent again included."""
        return [headers(packet) for packet in self.packets()]

    def packets(self) -> list[bytes]:
        """The same, as far as they were copied: headers and the first bytes behind them."""
        found = []
        for sock in self._sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(sock.recv(256))
        return found


class Marked:
    """Sees the frames that carry a token, in any host and whatever their headers say.

    Behind the token stands the number of a frame, four bytes.
    """

    def __init__(self, hosts: Iterable[str], token: bytes) -> None:
        """Raises FileNotFoundError if a host does not exist."""
        self._token = token
        self._sockets: dict[str, socket.socket] = {}
        with contextlib.ExitStack() as opening:
            for host in hosts:
                with netns.inside(host):
                    sock = sniffer()
                opening.enter_context(sock)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _ROOM_BYTES)
                sock.bind(("eth0", ETH_P_ALL))
                self._sockets[host] = sock
            self._open = opening.pop_all()

    def __enter__(self) -> Marked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def seen(self) -> dict[int, set[str]]:
        """Which frames were seen since the last call, and in which hosts."""
        found: dict[int, set[str]] = {}
        for host, sock in self._sockets.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = sock.recv(2048)
                    at = packet.find(self._token)
                    if at >= 0:
                        number = packet[at + len(self._token) :][:4]
                        found.setdefault(int.from_bytes(number, "big"), set()).add(host)
        return found
