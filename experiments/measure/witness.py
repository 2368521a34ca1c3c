"""What reaches a host? Watched in its namespace, whoever is asked to believe what.

A witness asks neither the controller nor the switches, nor the host's own protocols.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Network
from types import TracebackType

from experiments.measure.bpf import Instruction, attach, lent_to_any, tcp_syns
from experiments.measure.capture import CaptureError
from experiments.measure.judge import ETH_P_IP, sniffer
from experiments.measure.kernel import (
    ETH_P_ALL,
    SO_RCVBUFFORCE,
    packet_counts,
    receive,
    stamp_packets,
)
from experiments.measure.packets import Headers, Stamp, headers
from experiments.measure.tenure import Arrival
from topologies.emulation import netns

__all__ = ["Arrivals", "Marked", "Witness"]

_ROOM_BYTES = 4 << 20
_MUCH_ROOM_BYTES = 64 << 20
_LONGEST = 2048
_CLOCK_SET_NS = 1_000_000


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
        super().__init__(hosts, ETH_P_ALL, None)
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

    def stamped(self) -> Iterator[tuple[str, Stamp]]:
        """Host and stamp of every probe with the token that was seen since the last call."""
        for host, packet in self._packets():
            stamp = Stamp.find(self._token, packet)
            if stamp is not None:
                yield host, stamp


class Arrivals(_Watch):
    """Sees the TCP and UDP packets to some prefixes that reach hosts, and when.

    Times are of CLOCK_MONOTONIC. The kernel stamps packets by the other clock, so nobody may set
    that one meanwhile.
    """

    def __init__(self, hosts: Iterable[str], prefixes: Sequence[IPv4Network]) -> None:
        super().__init__(hosts, ETH_P_IP, lent_to_any(prefixes))
        for sock in self._sockets.values():
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _MUCH_ROOM_BYTES)
            stamp_packets(sock)
        self._epoch_ns = _epoch_ns()

    def __enter__(self) -> Arrivals:
        return self

    def arrived(self) -> Iterator[Arrival]:
        """The packets since the last call, host by host. Fragments show no port, so not those."""
        for host, sock in self._sockets.items():
            while (got := receive(sock)) is not None:
                packet, stamp_ns = got
                about = headers(packet)
                if about.destination_port is not None and stamp_ns is not None:
                    at_ns = stamp_ns - self._epoch_ns
                    yield Arrival(host, at_ns, int(about.destination), about.destination_port)

    def check(self) -> None:
        """Raise CaptureError if packets were missed, or their times cannot be believed."""
        lost = sum(packet_counts(sock)[1] for sock in self._sockets.values())
        if lost:
            raise CaptureError(f"{lost} packets came too fast to be kept: send fewer a second.")
        if abs(_epoch_ns() - self._epoch_ns) > _CLOCK_SET_NS:
            raise CaptureError("Somebody set the clock meanwhile: run it again.")


def _epoch_ns() -> int:
    """How far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC."""
    return time.time_ns() - time.monotonic_ns()
