"""Measures how late the link daemon delivers on this host now, and compensates for it.

What a packet suffers besides its configured delay is mostly the time that the kernel takes to wake
the daemon, which the daemon learns and anticipates by itself; the rest is a constant. Both are
measured with frames over a throwaway link of two cables, less the time that the same frames take
over a direct cable, by the kernel's own receive timestamps.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds, LinkError
from topologies.emulation.links.delayline import DelayLine

LINK_ID = 65535  # the highest there is, for the throwaway link
PREFIX = "dlcal"
CABLES = (("0", "0i"), ("1", "1i"), ("2", "3"))  # two of a link, one direct

ETHERTYPE = 0x88B5  # IEEE: for local experiments
SO_TIMESTAMPNS = 35
CLONE_NEWNET = 0x40000000
PATIENCE_S = 2.0
WARM_UP_S = 0.02

T = TypeVar("T")

TIMESPEC = struct.Struct("@qq")
HEADER = b"\xff" * 6 + b"\x02poplb" + struct.pack("!H", ETHERTYPE)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was found, one way, in nanoseconds; medians.

    An error is the time over the link less the configured delay and less ``direct_ns``.
    """

    direct_ns: int
    """Over a direct cable: the part of every measurement that is not the emulator's."""
    raw_error_ns: int
    """Error without any compensation."""
    anticipated_error_ns: int
    """Error with timers set earlier by the usual lateness of being woken."""
    advance_ns: int
    """What the daemon now takes off every due time besides: that error, if it is late."""
    error_ns: int
    """Error with the compensation that is now in force."""
    samples: int
    """How many frames each median rests on."""


def calibrate(
    line: DelayLine, *, samples: int = 30, delay_ns: int = 10_000_000, interval_s: float = 0.004
) -> Calibration:
    """Measure the daemon's median error and compensate for it; takes about half a second.

    Sends three times ``samples`` frames, one every ``interval_s``, over a link of ``delay_ns``.
    Other links keep working; their packets too are sent earlier from then on. Raises LinkError if
    the throwaway interfaces cannot be made or frames do not arrive.
    """
    with _throwaway_link(line, delay_ns):
        direct, emulated = _inside(line.netns, _open_paths)
        with direct, emulated:
            direct.wait_until_up()
            emulated.wait_until_up()
            errors: list[int] = []
            for anticipates, advances in ((False, False), (True, False), (True, True)):
                line.anticipates = anticipates
                line.advance_ns = max(0, errors[-1]) if advances else 0
                own, total = _measure(direct, emulated, delay_ns, samples, interval_s)
                errors.append(total - own)
    raw, anticipated, rest = errors
    return Calibration(own, raw, anticipated, line.advance_ns, rest, samples)


@contextmanager
def _throwaway_link(line: DelayLine, delay_ns: int) -> Iterator[None]:
    names = [(PREFIX + a, PREFIX + b) for a, b in CABLES]
    make = [f"link add name {a} type veth peer name {b}" for a, b in names]
    make += [f"link set dev {name} addrgenmode none up" for pair in names for name in pair]
    ends = LinkEnds(*(End(line.netns, outer, inner) for outer, inner in names[:2]))
    delay = Impairment(delay_ns=delay_ns)
    try:
        _ip(line.netns, make)
        line.attach(LinkAttachment(LINK_ID, ends, delay, delay))
        try:
            yield
        finally:
            line.detach(LINK_ID)
    finally:
        _ip(line.netns, [f"link del dev {a}" for a, _ in names], must=False)


def _ip(netns: str | None, commands: list[str], must: bool = True) -> None:
    """Run ip commands in the namespace, in one process."""
    argv = ["ip", *([] if must else ["-force"]), "-batch", "-"]
    argv = ["nsenter", f"--net={netns}", *argv] if netns else argv
    done = subprocess.run(
        argv, input="\n".join(commands) + "\n", capture_output=True, text=True, check=False
    )
    if must and done.returncode != 0:
        raise LinkError(f"calibration: ip refused: {' '.join(done.stderr.split())}")


class _Path:
    """Two packet sockets: what is sent on one interface is received on the other."""

    def __init__(self, sender: str, receiver: str) -> None:
        self._sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sender.bind((sender, 0))
        self._receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._receiver.bind((receiver, ETHERTYPE))
        self._receiver.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sender.close()
        self._receiver.close()

    def send(self, number: int) -> int:
        """Send frame ``number``; the wall clock just before, in ns."""
        frame = HEADER + number.to_bytes(4, "big") + bytes(42)
        before = time.clock_gettime_ns(time.CLOCK_REALTIME)
        self._sender.send(frame)
        return before

    def wait_until_up(self) -> None:
        """Send until something arrives: the kernel plugs new cables in at its leisure."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.receive(WARM_UP_S):
            if time.monotonic() > deadline:
                raise LinkError("calibration: no frame arrives over the throwaway interfaces")
            self.send(0)

    def receive(self, timeout_s: float) -> dict[int, int]:
        """Frames that arrive until the time is up or a few are there: number to time, in ns."""
        arrived: dict[int, int] = {}
        if not select.select([self._receiver], [], [], timeout_s)[0]:
            return arrived
        while True:
            try:
                frame, ancillary, _, _ = self._receiver.recvmsg(256, 256)
            except BlockingIOError:
                return arrived
            number = int.from_bytes(frame[len(HEADER) : len(HEADER) + 4], "big")
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    seconds, nanoseconds = TIMESPEC.unpack(value[: TIMESPEC.size])
                    arrived[number] = seconds * 1_000_000_000 + nanoseconds


def _open_paths() -> tuple[_Path, _Path]:
    return _Path(PREFIX + "2", PREFIX + "3"), _Path(PREFIX + "0", PREFIX + "1")


def _measure(
    direct: _Path, emulated: _Path, delay_ns: int, samples: int, interval_s: float
) -> tuple[int, int]:
    """Median of the one-way time over the direct cable, and over the link less its delay."""
    on_cable: list[int] = []
    sent: dict[int, int] = {}
    arrived: dict[int, int] = {}
    first = time.monotonic_ns() & 0x7FFFFFFF  # late frames of an earlier round are told apart
    deadline = time.monotonic() + samples * interval_s + delay_ns / 1e9 + PATIENCE_S
    while len(arrived) < samples:
        number = (first + len(sent)) & 0xFFFFFFFF
        if len(sent) < samples:
            sent[number] = emulated.send(number)
            begin = direct.send(number)
            on_cable += [t - begin for n, t in direct.receive(PATIENCE_S).items() if n == number]
        arrived |= emulated.receive(interval_s)
        arrived = {n: t for n, t in arrived.items() if n in sent}
        if time.monotonic() > deadline or len(on_cable) < len(sent):
            raise LinkError(f"calibration: {len(arrived)} of {samples} frames arrived")
    late = [arrived[number] - sent[number] - delay_ns for number in arrived]
    return round(statistics.median(on_cable)), round(statistics.median(late))


def _inside(netns: str | None, work: Callable[[], T]) -> T:
    """Do the work in a thread of its own in the namespace, for entering one binds the thread."""
    if netns is None:
        return work()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_enter, netns).result()
        return thread.submit(work).result()


def _enter(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(netns).open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise LinkError(f"{netns}: {os.strerror(ctypes.get_errno())}")
