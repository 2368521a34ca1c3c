"""An independent judge of misdelivery: does a borrowed address' packet reach its borrower only?

In every server's namespace the kernel counts, by packet sockets with BPF filters, the packets
that arrived for a lendable address, and those among them whose (address, port) that server
does not hold. The judge asks neither the controller nor the switches, and costs this process
no time per packet: only packets that reached the wrong server are ever copied out.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from experiments.measure.bpf import PortSet, attach, lent_to_any, lent_to_others
from experiments.measure.kernel import (
    SO_RCVBUFFORCE,
    kernel_time_ns,
    packet_counts,
    stamp_packets,
)
from experiments.measure.packets import headers
from topologies.emulation import netns

__all__ = ["Judge", "MisdeliveredRow", "PortSet", "Verdict"]

ETH_P_IP = 0x0800
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_EVIDENCE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one server received since the judge was opened, in packets.

    ``delivered`` counts TCP and UDP packets to lendable addresses, right or wrong;
    ``misdelivered`` those for which the server holds no lease. Both are exact, and count what
    the host's stack sees: segments that an offload has merged are one packet.
    """

    server: str
    delivered: int
    misdelivered: int


@dataclass(frozen=True, slots=True)
class MisdeliveredRow:
    """A packet that reached the wrong server. Ports are None in a non-first fragment.

    ``received_ns`` is CLOCK_REALTIME; ``length`` is the IP packet's, in bytes.
    """

    server: str
    received_ns: int
    protocol: int
    source: IPv4Address
    source_port: int | None
    destination: IPv4Address
    destination_port: int | None
    length: int


class Judge:
    """Watches servers from when it is made until it is closed; a context manager.

    ``held`` says which port sets each server holds; a server that is missing there is not
    watched, one with an empty list should receive nothing.
    """

    def __init__(self, pools: Sequence[IPv4Network], held: Mapping[str, Sequence[PortSet]]) -> None:
        """Raises FileNotFoundError if a server does not exist."""
        self._pools = tuple(pools)
        self._watches: dict[str, _Watch] = {}
        self._resources = contextlib.ExitStack()
        with contextlib.ExitStack() as opening:
            for server, sets in held.items():
                watch = self._watches[server] = _Watch(server, self._pools)
                opening.callback(watch.close)
                watch.hold(sets)
            self._resources = opening.pop_all()

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self, server: str, sets: Sequence[PortSet]) -> None:
        """From now on this server holds exactly these sets (a lease came, went or moved)."""
        self._watches[server].hold(sets)

    def verdicts(self) -> list[Verdict]:
        """The counts so far, a verdict per server; may be asked again and again."""
        return [watch.verdict() for watch in self._watches.values()]

    def totals(self) -> dict[str, int]:
        """Packets ``delivered`` and ``misdelivered`` over all servers so far."""
        verdicts = self.verdicts()
        return {
            "delivered": sum(verdict.delivered for verdict in verdicts),
            "misdelivered": sum(verdict.misdelivered for verdict in verdicts),
        }

    def misdelivered(self) -> list[MisdeliveredRow]:
        """The wrong packets since the last call, as evidence.

        If thousands arrive between two calls the last ones are not kept: count by ``verdicts``.
        """
        return [row for watch in self._watches.values() for row in watch.evidence()]

    def close(self) -> None:
        """Stop watching."""
        self._resources.close()


class _Watch:
    """The two packet sockets in one server."""

    def __init__(self, server: str, pools: tuple[IPv4Network, ...]) -> None:
        self._server = server
        self._pools = pools
        self._delivered = 0
        self._misdelivered = 0
        with netns.inside(server):
            self._all = sniffer()
            self._wrong = sniffer()
        attach(self._all, lent_to_any(pools))
        # Never read, only counted: its queue is kept as small as the kernel allows.
        self._all.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._wrong.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _EVIDENCE_BYTES)
        stamp_packets(self._wrong)

    def hold(self, sets: Sequence[PortSet]) -> None:
        attach(self._wrong, lent_to_others(self._pools, sets))
        for sniffer in (self._all, self._wrong):
            if sniffer.getsockname()[0] == "":
                sniffer.bind(("eth0", ETH_P_IP))

    def verdict(self) -> Verdict:
        self._delivered += packet_counts(self._all)[0]
        self._misdelivered += packet_counts(self._wrong)[0]
        return Verdict(self._server, self._delivered, self._misdelivered)

    def evidence(self) -> Iterator[MisdeliveredRow]:
        while True:
            try:
                packet, control, _, _ = self._wrong.recvmsg(256, 256)
            except BlockingIOError:
                return
            got = headers(packet)
            yield MisdeliveredRow(
                self._server,
                kernel_time_ns(control) or 0,
                got.protocol,
                got.source,
                got.source_port,
                got.destination,
                got.destination_port,
                got.length,
            )

    def close(self) -> None:
        self._all.close()
        self._wrong.close()


def sniffer() -> socket.socket:
    """A packet socket that is deaf until it is bound, so that its filter is there first."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    return sock
