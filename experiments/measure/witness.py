"""Who knocks at a host? Every TCP SYN that reaches it, whoever is asked to believe what."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from types import TracebackType

from experiments.measure.bpf import attach, tcp_syns
from experiments.measure.judge import ETH_P_IP, sniffer
from experiments.measure.kernel import SO_RCVBUFFORCE
from experiments.measure.packets import Headers, headers
from topologies.emulation import netns

__all__ = ["Witness"]

_ROOM_BYTES = 4 << 20


class Witness:
    """Sees the SYNs that reach some hosts, from when it is made until it is closed.

    It asks neither the controller nor the switches, nor the host's own TCP.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        """Raises FileNotFoundError if a host does not exist."""
        self._sockets: list[socket.socket] = []
        with contextlib.ExitStack() as opening:
            for host in hosts:
                with netns.inside(host):
                    sock = sniffer()
                opening.enter_context(sock)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _ROOM_BYTES)
                attach(sock, tcp_syns())
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
        """The SYNs since the last call, those that were sent again included."""
        found = []
        for sock in self._sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    found.append(headers(sock.recv(256)))
        return found
