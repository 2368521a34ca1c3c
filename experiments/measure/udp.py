"""UDP echo RTT (RFC 862) from many hosts at once, by kernel timestamps.

The echo server is a process, so this RTT holds its wake-up: prefer ``ping`` for the network's
delay, and this for whether UDP gets through and comes back.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from experiments.measure.echo import EchoProbe, EchoRow, measure
from experiments.measure.kernel import Ports, bind_source, open_in
from experiments.measure.packets import Stamp
from topologies.emulation.endpoints.echo import ECHO_PORT
from topologies.family import Family

__all__ = ["ECHO_PORT", "EchoProbe", "EchoRow", "udp_echo"]


def udp_echo(
    probes: Sequence[EchoProbe],
    *,
    count: int = 10,
    interval_s: float = 0.1,
    timeout_s: float = 1.0,
    size: int = 56,
    port: int = ECHO_PORT,
    ports: Ports | None = None,
    seed: int = 0,
    token: bytes | None = None,
) -> list[EchoRow]:
    """Send ``count`` datagrams for each probe; a row for each, lost ones included.

    ``ports`` is the port set to send from, first and last; each host and source take one port
    of it. ``token``, eight bytes, marks the datagrams for others who look at them. Otherwise as
    ``ping``.
    """
    method = _Udp(size, port, ports)
    return measure(
        method,
        probes,
        count=count,
        interval_s=interval_s,
        timeout_s=timeout_s,
        seed=seed,
        token=token,
    )


class _Udp:
    def __init__(self, size: int, port: int, ports: Ports | None) -> None:
        Stamp(b"", 0, 0).payload(size)  # refuse a size that is too small before anything opens
        self.port = port
        self._size = size
        self._ports = ports

    def open(self, probe: EchoProbe) -> socket.socket:
        sock = open_in(probe.host, socket.SOCK_DGRAM, family=probe.destination.version)
        bind_source(sock, probe.source, self._ports)
        return sock

    def request(self, stamp: Stamp, family: Family) -> bytes:
        del family
        return stamp.payload(self._size)
