"""The engine behind ``ping`` and ``udp``: many echo probes, one thread, kernel timestamps.

Probes are staggered: probe i of n sends at (its place in a seeded shuffle) / n of the
interval, so that they do not queue behind each other and measure that. RTT is the kernel's
receive time minus the kernel's send time, so how late this thread wakes does not matter.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from experiments.measure.kernel import (
    READABLE,
    SO_RCVBUFFORCE,
    await_stamps,
    receive,
    stamp_packets,
)
from experiments.measure.packets import Stamp
from topologies.family import Address, Family

__all__ = ["Clock", "EchoProbe", "EchoRow", "Method", "measure", "schedule"]

Clock = Literal["kernel", "process"]

_READ_EVERY_NS = 20_000_000
_QUEUE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class EchoProbe:
    """Who asks whom: a host of the plan, a destination, and a source if not the host's own."""

    host: str
    destination: Address
    source: Address | None = None


@dataclass(frozen=True, slots=True)
class EchoRow:
    """One request. ``probe`` is its place in the list of probes, ``sequence`` counts from 0.

    ``sent_ns`` is on the monotonic clock. ``rtt_ns`` is None unless ``outcome`` is ``ok``;
    ``unsent`` means that the host's own kernel refused to send. ``clock`` is
    ``process`` where the kernel gave no send time (a driver without it): such an RTT is too
    long by what it takes to call the kernel.
    """

    probe: int
    host: str
    source: Address | None
    destination: Address
    sequence: int
    sent_ns: int
    rtt_ns: int | None
    outcome: Literal["ok", "lost", "unsent"]
    clock: Clock


class Method(Protocol):
    """What differs between ICMP and UDP."""

    port: int

    def open(self, probe: EchoProbe) -> socket.socket:
        """A socket in the probe's host, bound to its source, not connected."""

    def request(self, stamp: Stamp, family: Family) -> bytes:
        """The bytes to send."""


@dataclass(slots=True)
class _Sent:
    """One request on its way. Times are CLOCK_REALTIME ns, as the kernel's timestamps are."""

    sent_ns: int
    process_tx_ns: int
    kernel_tx_ns: int | None = None
    rx_ns: int | None = None
    kernel_rx: bool = False
    refused: bool = False

    def rtt(self, timeout_ns: int) -> tuple[int | None, Clock]:
        clock: Clock = "kernel" if self.kernel_tx_ns is not None and self.kernel_rx else "process"
        if self.rx_ns is None:
            return None, clock
        start = self.kernel_tx_ns if clock == "kernel" else None
        rtt = self.rx_ns - (start if start is not None else self.process_tx_ns)
        return (rtt if rtt <= timeout_ns else None), clock


def schedule(probes: int, count: int, interval_ns: int, seed: int) -> list[tuple[int, int, int]]:
    """When to send what: (ns after the start, probe, sequence), sorted by time.

    Every probe sends once an interval; their places within it are a seeded shuffle.
    """
    order = list(range(probes))
    random.Random(seed).shuffle(order)
    return [
        (sequence * interval_ns + place * interval_ns // probes, probe, sequence)
        for sequence in range(count)
        for place, probe in enumerate(order)
    ]


def measure(
    method: Method,
    probes: Sequence[EchoProbe],
    *,
    count: int,
    interval_s: float,
    timeout_s: float,
    seed: int,
    token: bytes | None = None,
) -> list[EchoRow]:
    """Send ``count`` requests for each probe and return a row for each, by probe and sequence.

    Lasts about ``count * interval_s``, and up to ``timeout_s`` more while replies are missing.
    Raises FileNotFoundError if a host does not exist, OSError if a source is not the host's.
    """
    if count < 1 or interval_s <= 0 or timeout_s <= 0:
        raise ValueError("count, interval_s and timeout_s must be greater than 0")
    plan = schedule(len(probes), count, round(interval_s * 1e9), seed)
    with _Run(method, probes, token or secrets.token_bytes(8)) as run:
        start = time.monotonic_ns()
        for offset_ns, probe, sequence in plan:
            run.pause_until(start + offset_ns)
            run.send(probe, sequence)
        run.finish(time.monotonic_ns() + round(timeout_s * 1e9))
        return list(run.rows(round(timeout_s * 1e9)))


class _Run:
    """The sockets and the open requests of one measurement."""

    def __init__(self, method: Method, probes: Sequence[EchoProbe], token: bytes) -> None:
        self._method = method
        self._probes = probes
        self._token = token
        self._sent: dict[tuple[int, int], _Sent] = {}
        self._missing = 0
        self._read_next_ns = 0
        self._resources = contextlib.ExitStack()
        self._by_fd: dict[int, socket.socket] = {}
        self._by_probe: list[socket.socket] = []

    def __enter__(self) -> _Run:
        with contextlib.ExitStack() as opening:
            self._epoll = opening.enter_context(contextlib.closing(select.epoll()))
            shared: dict[tuple[str, Address | None, Family], socket.socket] = {}
            for probe in self._probes:
                key = (probe.host, probe.source, probe.destination.version)
                sock = shared.get(key)
                if sock is None:
                    sock = opening.enter_context(self._method.open(probe))
                    shared[key] = sock
                    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _QUEUE_BYTES)
                    stamp_packets(sock)
                    self._by_fd[sock.fileno()] = sock
                    self._epoll.register(sock.fileno(), READABLE)
                self._by_probe.append(sock)
            if self._probes:
                await_stamps(self._probes[0].host)
            self._resources = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def send(self, probe: int, sequence: int) -> None:
        """Send one request now."""
        destination = self._probes[probe].destination
        packet = self._method.request(Stamp(self._token, probe, sequence), destination.version)
        target = (str(destination), self._method.port)
        sent = self._sent[probe, sequence] = _Sent(time.monotonic_ns(), time.time_ns())
        try:
            self._by_probe[probe].sendto(packet, target)
            self._missing += 1
        except OSError:
            sent.refused = True

    def pause_until(self, until_ns: int) -> None:
        """Sleep until a monotonic time, taking in replies now and then.

        Reading in batches costs the machine far fewer wake-ups than reading each reply at once.
        """
        while True:
            now_ns = time.monotonic_ns()
            if now_ns >= self._read_next_ns:
                self._read(0)
            if now_ns >= until_ns:
                return
            time.sleep(min(until_ns - now_ns, _READ_EVERY_NS) / 1e9)

    def finish(self, until_ns: int) -> None:
        """Take in replies until none is missing, or until a monotonic time."""
        self._read(0)
        while self._missing and (left_ns := until_ns - time.monotonic_ns()) > 0:
            self._read(left_ns / 1e9)

    def _read(self, wait_s: float) -> None:
        for fd, _ in self._epoll.poll(wait_s):
            self._take(self._by_fd[fd])
        self._read_next_ns = time.monotonic_ns() + _READ_EVERY_NS

    def _take(self, sock: socket.socket) -> None:
        while (got := receive(sock, socket.MSG_ERRQUEUE)) is not None:
            packet, kernel_ns = got
            sent = self._request_of(packet)
            if sent is not None and sent.kernel_tx_ns is None:
                sent.kernel_tx_ns = kernel_ns
        while (got := receive(sock)) is not None:
            packet, kernel_ns = got
            sent = self._request_of(packet)
            if sent is not None and sent.rx_ns is None:
                sent.rx_ns = kernel_ns if kernel_ns is not None else time.time_ns()
                sent.kernel_rx = kernel_ns is not None
                self._missing -= 1

    def _request_of(self, packet: bytes) -> _Sent | None:
        stamp = Stamp.find(self._token, packet)
        return self._sent.get((stamp.probe, stamp.sequence)) if stamp else None

    def rows(self, timeout_ns: int) -> Iterator[EchoRow]:
        """A row for each request, by probe and sequence."""
        for (index, sequence), sent in sorted(self._sent.items()):
            probe = self._probes[index]
            rtt_ns, clock = sent.rtt(timeout_ns)
            outcome: Literal["ok", "lost", "unsent"] = "ok" if rtt_ns is not None else "lost"
            yield EchoRow(
                index,
                probe.host,
                probe.source,
                probe.destination,
                sequence,
                sent.sent_ns,
                rtt_ns,
                "unsent" if sent.refused else outcome,
                clock,
            )
