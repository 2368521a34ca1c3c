"""What reaches a host? Watched in its namespace, whoever is asked to believe what.

A witness asks neither the controller nor the switches, nor the host's own protocols.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

from experiments.measure.bpf import Instruction, attach, tcp_syns
from experiments.measure.judge import ETH_P_IP, sniffer
from experiments.measure.kernel import SO_RCVBUFFORCE
from experiments.measure.packets import Headers, headers
from topologies.emulation import netns

__all__ = ["Marked", "Witness"]

_ROOM_BYTES = 4 << 20
_LONGEST = 2048
_ETH_P_ALL = 3


class _Watch:
    """A packet socket in each host, from when it is made until it is closed."""

    def __init__(
        self, hosts: Iterable[str], protocol: int, program: Sequence[Instruction] | None
    ) -> None:
        """Raises FileNotFoundError if a host does not exist."""
        self._sockets: dict[str, socket.socket] = {}
        with contextlib.ExitStack() as opening:
            for host in hosts:
                with netns.inside(host):
                    sock = sniffer()
                opening.enter_context(sock)
                sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _ROOM_BYTES)
                if program is not None:
                    attach(sock, program)
                sock.bind(("eth0", protocol))
                self._sockets[host] = sock
            self._open = opening.pop_all()

    def __enter__(self) -> _Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _packets(self) -> Iterator[tuple[str, bytes]]:
        """Host and packet, of all since the last call."""
        for host, sock in self._sockets.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    yield host, sock.recv(_LONGEST)


class Witness(_Watch):
    """Sees IPv4 packets that reach some hosts: SYNs, if it is told nothing else."""

    def __init__(
        self, hosts: Iterable[str], program: Callable[[], Sequence[Instruction]] = tcp_syns
    ) -> None:
        super().__init__(hosts, ETH_P_IP, program())

    def __enter__(self) -> Witness:
        return self

    def arrived(self) -> list[Headers]:
        """The packets since the last call, those that were sent again included."""
        return [headers(packet) for packet in self.packets()]

    def packets(self) -> list[bytes]:
        """The same, as far as they were copied: headers and the first bytes behind them."""
        return [packet for _, packet in self._packets()]


class Marked(_Watch):
    """Sees the frames that carry a token, in any host and whatever their headers say.

    Behind the token stands the number of a frame, four bytes.
    """

    def __init__(self, hosts: Iterable[str], token: bytes) -> None:
        super().__init__(hosts, _ETH_P_ALL, None)
        self._token = token

    def __enter__(self) -> Marked:
        return self

    def seen(self) -> dict[int, set[str]]:
        """Which frames were seen since the last call, and in which hosts."""
        found: dict[int, set[str]] = {}
        for host, packet in self._packets():
            at = packet.find(self._token)
            if at >= 0:
                number = int.from_bytes(packet[at + len(self._token) :][:4], "big")
                found.setdefault(number, set()).add(host)
        return found
