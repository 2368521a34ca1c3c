"""A bench for links: interfaces in namespaces of their own, a daemon, and sockets on both ends."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from topologies.emulation.links import End, Impairment, LinkAttachment, LinkEnds
from topologies.emulation.links.delayline import BINARY, DelayLine

# `make asan-test` in links/daemon runs these tests on the build with sanitizers.
TESTED = Path(os.environ.get("DELAYLINE_BINARY", BINARY))

ETHERTYPE = 0x88B6
HEADER = b"\xff" * 6 + b"\x02bench" + struct.pack("!H", ETHERTYPE)
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
PACKET_AUXDATA = 8
SOL_PACKET = 263

T = TypeVar("T")
_numbers = itertools.count()


def wait_for(condition: Callable[[], Any], awaited: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {awaited}"
        time.sleep(0.002)


def ip(*commands: str, netns: str | None = None) -> None:
    argv = ["ip", *(["-netns", netns] if netns else []), "-batch", "-"]
    subprocess.run(argv, input="\n".join(commands) + "\n", text=True, check=True)


class Namespace:
    """A network namespace; `run` does work inside it, in the namespace's own thread."""

    def __init__(self, label: str) -> None:
        self.name = f"dlt{os.getpid()}-{next(_numbers)}{label}"
        self.path = f"/run/netns/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(self._enter).result()
        for scope in ("all", "default"):
            self.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", "1")

    def _enter(self) -> None:
        with Path(self.path).open("rb") as handle:
            assert ctypes.CDLL(None).setns(handle.fileno(), 0x40000000) == 0

    def run(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return self._thread.submit(work, *arguments, **options).result()

    def sysctl(self, key: str, value: str) -> None:
        self.run(Path("/proc/sys", key).write_text, value)

    def is_up(self, interface: str) -> bool:
        show = ["ip", "-netns", self.name, "-json", "link", "show", interface]
        found = json.loads(subprocess.run(show, check=True, capture_output=True).stdout)
        return bool(found[0]["operstate"] == "UP")

    def close(self) -> None:
        self._thread.shutdown()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@dataclass(frozen=True)
class Arrival:
    frame: bytes
    time_ns: int  # wall clock, by the kernel
    tag: tuple[int, int] | None  # TPID and TCI of the VLAN tag


class Tap:
    """A packet socket on an outer interface. Frames carry our type unless all are wanted."""

    def __init__(self, interface: str, ethertype: int = ETHERTYPE) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(SOL_PACKET, 23, 1)  # PACKET_IGNORE_OUTGOING
        self.socket.bind((interface, ethertype))
        self.socket.setblocking(False)

    def send(self, frame: bytes) -> int:
        """The wall clock just before, in ns."""
        while True:
            before = time.clock_gettime_ns(time.CLOCK_REALTIME)
            try:
                self.socket.send(frame)
            except (BlockingIOError, OSError) as error:
                if error.errno not in (11, 105):  # EAGAIN, ENOBUFS: the receiver is behind
                    raise
                time.sleep(0.001)
            else:
                return before

    def send_numbers(self, count: int, size: int = 60, start: int = 0) -> list[int]:
        """Numbered frames, back to back; when each was sent."""
        fill = bytes(size - len(HEADER) - 4)
        return [
            self.send(HEADER + n.to_bytes(4, "big") + fill) for n in range(start, start + count)
        ]

    def receive(self, count: int, timeout_s: float = 10.0, quiet_s: float = 0.5) -> list[Arrival]:
        """Frames until there are `count`, or for `quiet_s` none came after the first few."""
        found: list[Arrival] = []
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            patience = quiet_s if found else timeout_s
            if not select.select([self.socket], [], [], patience)[0]:
                break
            found += self._drain(count - len(found))
        return found

    def _drain(self, most: int) -> Iterator[Arrival]:
        for _ in range(most):
            try:
                frame, ancillary, _, _ = self.socket.recvmsg(1 << 17, 256)
            except BlockingIOError:
                return
            yield Arrival(frame, *_metadata(ancillary))

    def close(self) -> None:
        self.socket.close()


def _metadata(ancillary: list[Any]) -> tuple[int, tuple[int, int] | None]:
    time_ns, tag = 0, None
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("@qq", value[:16])
            time_ns = seconds * 1_000_000_000 + nanoseconds
        elif (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
            if status & 16:  # TP_STATUS_VLAN_VALID
                tag = (tpid, tci)
    return time_ns, tag


def numbers(arrivals: list[Arrival]) -> list[int]:
    return [
        int.from_bytes(arrival.frame[len(HEADER) : len(HEADER) + 4], "big") for arrival in arrivals
    ]


class Bench:
    """One link between two namespaces, at the daemon's mercy."""

    LINK = 7

    def __init__(self) -> None:
        self.a, self.b, self.inner = Namespace("a"), Namespace("b"), Namespace("i")
        self.taps: list[Tap] = []
        self.lines: list[DelayLine] = []
        self.ends = LinkEnds(End(self.a.path, "out", "la"), End(self.b.path, "out", "lb"))
        for side, inner in ((self.a, "la"), (self.b, "lb")):
            peer = f"peer name {inner} netns {self.inner.name}"
            ip(f"link add name out netns {side.name} type veth {peer}")
        for side, host in ((self.a, 1), (self.b, 2)):
            ip(
                f"addr add 192.0.2.{host}/24 dev out",
                "link set lo up",
                "link set out up",
                netns=side.name,
            )
        ip("link set la up", "link set lb up", netns=self.inner.name)
        for side, name in (
            (self.a, "out"),
            (self.b, "out"),
            (self.inner, "la"),
            (self.inner, "lb"),
        ):
            # the kernel plugs a cable in at its leisure, and drops what is sent before
            wait_for(lambda s=side, n=name: s.is_up(n), f"{name} in {side.name} to be up")

    def start(
        self,
        a_to_b: Impairment | None = None,
        b_to_a: Impairment | None = None,
        *,
        seed: int = 1,
        memory_bytes: int = 256 << 20,
    ) -> DelayLine:
        for former in self.lines:
            former.close()
        line = DelayLine(self.inner.path, binary=TESTED, memory_bytes=memory_bytes)
        self.lines.append(line)
        impairments = (a_to_b or Impairment(), b_to_a or Impairment())
        line.attach(LinkAttachment(self.LINK, self.ends, *impairments, seed))
        return line

    def tap(self, side: str, ethertype: int = ETHERTYPE) -> Tap:
        namespace = {"a": self.a, "b": self.b}[side]
        tap = namespace.run(Tap, "out", ethertype)
        self.taps.append(tap)
        return tap

    def mtu(self, value: int) -> None:
        for side in (self.a, self.b):
            ip(f"link set out mtu {value}", netns=side.name)

    def clear(self) -> None:
        for thing in (*self.taps, *self.lines):
            thing.close()
        self.taps.clear()
        self.lines.clear()

    def close(self) -> None:
        self.clear()
        for namespace in (self.a, self.b, self.inner):
            namespace.close()
