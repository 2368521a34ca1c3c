"""ICMP echo RTT from many hosts at once (RFC 792, 4443), by raw sockets and kernel timestamps."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence

from experiments.measure.echo import EchoProbe, EchoRow, measure
from experiments.measure.kernel import bind_source, open_in
from experiments.measure.packets import ICMP6_ECHO_REPLY, ICMP_ECHO_REPLY, Stamp, echo_request
from topologies.family import Family

__all__ = ["EchoProbe", "EchoRow", "ping"]

_SOL_RAW = 255
_ICMP_FILTER = 1
_ICMP6_FILTER = 1
_IPV6_FREEBIND = 78


def ping(
    probes: Sequence[EchoProbe],
    *,
    count: int = 10,
    interval_s: float = 0.1,
    timeout_s: float = 1.0,
    size: int = 56,
    seed: int = 0,
    token: bytes | None = None,
) -> list[EchoRow]:
    """Ping ``count`` times for each probe; a row for each request, lost ones included.

    ``size`` is the payload in bytes, 56 as the ordinary ``ping`` sends. ``seed`` orders the
    probes within an interval. ``token``, eight bytes, marks the requests and their replies for
    others who look at them. The destination's kernel answers, so the RTT holds no process.
    Blocks for about ``count * interval_s``.

    Raises FileNotFoundError if a host does not exist, OSError if a source is not the host's (by
    IPv6 any source is tried), ValueError on a senseless number.
    """
    method = _Icmp(size)
    return measure(
        method,
        probes,
        count=count,
        interval_s=interval_s,
        timeout_s=timeout_s,
        seed=seed,
        token=token,
    )


class _Icmp:
    port = 0

    def __init__(self, size: int) -> None:
        Stamp(b"", 0, 0).payload(size)  # refuse a size that is too small before anything opens
        self._size = size

    def open(self, probe: EchoProbe) -> socket.socket:
        # A raw socket sees every ICMP packet of its host: let only echo replies in.
        if probe.destination.version == 4:
            sock = open_in(probe.host, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            others = ~(1 << ICMP_ECHO_REPLY) & 0xFFFFFFFF
            sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", others))
        else:
            sock = open_in(probe.host, socket.SOCK_RAW, socket.IPPROTO_ICMPV6, 6)
            others = (1 << 256) - 1 & ~(1 << ICMP6_ECHO_REPLY)
            words = [others >> 32 * n & 0xFFFFFFFF for n in range(8)]
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *words))
            # To IPv6 an address that is local by AnyIP alone is not the host's.
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        if probe.source is not None:
            bind_source(sock, probe.source, None)
        return sock

    def request(self, stamp: Stamp, family: Family) -> bytes:
        return echo_request(os.getpid(), stamp.sequence, stamp.payload(self._size), family)
