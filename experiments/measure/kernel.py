"""What the kernel offers to probes and Python's ``socket`` does not name.

Numbers are those of Linux on x86 and ARM (asm-generic).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any

from topologies.emulation import netns
from topologies.family import Address, Family

__all__ = [
    "ETH_P_ALL",
    "IP_BIND_ADDRESS_NO_PORT",
    "IP_LOCAL_PORT_RANGE",
    "READABLE",
    "SO_RCVBUFFORCE",
    "Ports",
    "await_stamps",
    "bind_source",
    "check_port",
    "frames",
    "handshake_rtt_ns",
    "kernel_time_ns",
    "open_in",
    "open_tap",
    "packet_counts",
    "receive",
    "stamp_packets",
]

Ports = tuple[int, int]
"""A port set: first and last, both in it."""

IP_BIND_ADDRESS_NO_PORT = 24
IP_LOCAL_PORT_RANGE = 51
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
READABLE = select.EPOLLIN | select.EPOLLERR

_FRAME_BYTES = 1 << 16
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_SO_TIMESTAMPNS = 35
_SO_TIMESTAMPING = 37  # also the type of its control message
_TX_SCHED = 1 << 8
"""Stamp what is sent before the queueing discipline, so that netem on the sender counts."""
_RX_SOFTWARE = 1 << 3
_SOFTWARE = 1 << 4
_TCP_INFO_SIZE = 232
_TCPI_RTT = 68  # offset of tcpi_rtt in struct tcp_info, microseconds


def open_in(host: str, kind: int, protocol: int = 0, family: Family = 4) -> socket.socket:
    """A non-blocking socket in a host's namespace, of a family.

    Raises FileNotFoundError if the host does not exist, OSError if the kernel refuses.
    """
    return netns.open_socket(host, _FAMILIES[family], kind, protocol)


def bind_source(sock: socket.socket, source: Address | None, ports: Ports | None) -> None:
    """Choose where a socket sends from: an address, and a port or a port set.

    For TCP the kernel picks the port at connect(), so that one port serves many destinations
    (IP_BIND_ADDRESS_NO_PORT); call ``check_port`` after that. A set of one port is bound at once.

    Raises OSError: EADDRNOTAVAIL where the address is not the host's, EADDRINUSE where no port
    of the set is free; RuntimeError as ``check_port``.
    """
    address = str(source or "")
    if ports is not None and ports[0] == ports[1]:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, ports[0]))
        return
    if ports is not None:
        bounds = struct.pack("=I", ports[0] | ports[1] << 16)
        sock.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, bounds)
    if sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((address, 0))
    else:
        sock.bind((address, 0))
        check_port(sock, ports)


def check_port(sock: socket.socket, ports: Ports | None) -> int:
    """The socket's own port. Raises RuntimeError if it lies outside the set that was asked for.

    The kernel ignores a range that is not within the namespace's sysctl, without a word.
    """
    port = int(sock.getsockname()[1])
    if ports is not None and not ports[0] <= port <= ports[1]:
        raise RuntimeError(
            f"asked for a source port in {ports[0]}-{ports[1]}, the kernel took {port}: the host's "
            "net.ipv4.ip_local_port_range does not hold that range; widen it, or ask for one port"
        )
    return port


def stamp_packets(sock: socket.socket) -> None:
    """Let the kernel write the time on each packet that this socket sends or receives.

    Send times arrive in the error queue with a copy of the packet, so they are matched by
    content and need no counter. Raises OSError where the kernel has no SO_TIMESTAMPING.
    """
    flags = _TX_SCHED | _RX_SOFTWARE | _SOFTWARE
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)


def await_stamps(host: str, timeout_s: float = 1.0) -> None:
    """Wait until the kernel really stamps what arrives, while some socket asks for it.

    The first such socket only starts a kernel worker that turns the stamps on, and on a busy
    machine that takes long enough for replies to pass unstamped. Sends to itself on the host's
    loopback; gives up after ``timeout_s``, or at once where the loopback is down: a row's
    ``clock`` tells in any case.
    """
    deadline = time.monotonic() + timeout_s
    with open_in(host, socket.SOCK_DGRAM) as sock:
        stamp_packets(sock)
        try:
            sock.bind(("127.0.0.1", 0))
        except OSError:
            return
        while time.monotonic() < deadline:
            sock.sendto(b"", sock.getsockname())
            arrived = select.select([sock], [], [], 0.1)[0] and receive(sock)
            if arrived and arrived[1] is not None:
                return
            time.sleep(0.001)


def kernel_time_ns(control: Iterable[tuple[int, int, bytes]]) -> int | None:
    """The software timestamp (CLOCK_REALTIME) among control messages; None if there is none."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPING and len(data) >= 16:
            seconds, nanoseconds = struct.unpack_from("qq", data)
            if seconds or nanoseconds:
                return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None


def receive(sock: socket.socket, flags: int = 0) -> tuple[bytes, int | None] | None:
    """The next packet and its kernel time; None when the queue is empty."""
    try:
        packet, control, _, _ = sock.recvmsg(2048, 256, flags)
    except BlockingIOError:
        return None
    return packet, kernel_time_ns(control)


def open_tap(namespace: str, buffer_bytes: int, protocol: int = 0) -> socket.socket:
    """A packet socket for whole frames, with kernel timestamps (packet(7)).

    It hears ``protocol`` on every interface; without one it is deaf until it is bound to one.
    Raises FileNotFoundError if the namespace does not exist.
    """
    kind = socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)
    tap = netns.open_socket(namespace, *kind)
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)
    tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    return tap


def frames(tap: socket.socket) -> Iterator[tuple[bytes, bytes, Any]]:
    """What waits in a tap: each frame, when it came (struct timespec), and where (packet(7))."""
    while True:
        try:
            frame, control, _, sender = tap.recvmsg(_FRAME_BYTES, 64)
        except BlockingIOError:
            return
        yield frame, control[0][2] if control else b"", sender


def packet_counts(sock: socket.socket) -> tuple[int, int]:
    """Packets that passed a packet socket's filter since the last call, and those that found no
    room in it, which are among them (packet(7)).
    """
    counts = sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    passed, lost = struct.unpack("=II", counts)
    return int(passed), int(lost)


def handshake_rtt_ns(sock: socket.socket) -> int:
    """The kernel's own RTT of a TCP connection, of the handshake if asked right after it."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    (microseconds,) = struct.unpack_from("=I", info, _TCPI_RTT)
    return int(microseconds) * 1000
