"""Connections from borrowed addresses, for programs on a server.

A server with one lease needs nothing of this: its namespace hands out the right ports to whoever
binds the address. With several leases a program says which tag it wants to be seen with::

    from controller.agent import borrowed

    with borrowed.connect(("172.16.0.1", 80), tag="gb", leases=leases) as made:
        made.sendall(...)

    reader, writer = await borrowed.open_connection("172.16.0.1", 80, tag="gb", leases=leases)

``leases`` is what the agent's status file says of this server (``read``). Of several with one tag
the next is used when all ports of one are in use. For TCP the kernel chooses the port when the
connection is made, so one port serves as many connections as there are destinations; a UDP socket
takes a port for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any, TypeVar

from topologies.model import COMMON_TAG, SYSTEM_PORTS

__all__ = [
    "NoLeaseError",
    "PortsExhaustedError",
    "bind",
    "connect",
    "dial",
    "open_connection",
    "read",
]

T = TypeVar("T")

IP_BIND_ADDRESS_NO_PORT = 24
IP_LOCAL_PORT_RANGE = 51
"""ip(7); Linux 4.2 and 6.3. Python 3.11 names only the first."""


class NoLeaseError(OSError):
    """The server holds no lease with this tag."""


class PortsExhaustedError(OSError):
    """Every port of the lease is in use: of TCP, towards this destination."""


def read(status: Path, server: str) -> list[dict[str, Any]]:
    """What the agent's status file says of a server."""
    return list(json.loads(status.read_text()).get(server, ()))


def bind(made: socket.socket, leases: Iterable[Mapping[str, Any]], tag: str = COMMON_TAG) -> range:
    """Let a socket use a borrowed address, and only its ports, which are returned.

    Raises NoLeaseError, OSError, and PortsExhaustedError for UDP.
    """
    return _first(leases, tag, lambda lease: _use(made, lease))


def _first(
    leases: Iterable[Mapping[str, Any]], tag: str, attempt: Callable[[Mapping[str, Any]], T]
) -> T:
    """What is made of the first lease with a tag that has a port left."""
    *others, last = _tagged(leases, tag)
    for lease in others:
        with contextlib.suppress(PortsExhaustedError):
            return attempt(lease)
    return attempt(last)


def _tagged(leases: Iterable[Mapping[str, Any]], tag: str) -> Sequence[Mapping[str, Any]]:
    """The leases with a tag, at least one. Raises NoLeaseError."""
    found = [lease for lease in leases if lease["tag"] == tag]
    if not found:
        raise NoLeaseError(errno.EADDRNOTAVAIL, f"no lease tagged {tag!r} is held here")
    return found


def _use(made: socket.socket, lease: Mapping[str, Any]) -> range:
    """Let a socket use a lease: its ports. Raises OSError."""
    lowest, highest = max(int(lease["first_port"]), SYSTEM_PORTS), int(lease["last_port"])
    if made.type == socket.SOCK_STREAM:
        made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    made.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, pack("=I", lowest | highest << 16))
    with _named(lease, errno.EADDRINUSE):  # of UDP; TCP gets no port yet
        made.bind((str(lease["address"]), 0))
    ports = range(lowest, highest + 1)
    if made.type != socket.SOCK_STREAM:
        _check(made, ports)
    return ports


def connect(
    target: tuple[str, int],
    tag: str = COMMON_TAG,
    *,
    leases: Iterable[Mapping[str, Any]],
    kind: int = socket.SOCK_STREAM,
    timeout: float | None = None,
) -> socket.socket:
    """A connected socket. Raises NoLeaseError, PortsExhaustedError, OSError."""
    return _first(leases, tag, lambda lease: _connect(target, lease, kind, timeout))


def _connect(
    target: tuple[str, int], lease: Mapping[str, Any], kind: int, timeout: float | None
) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    with _closed_on_error(made):
        made.settimeout(timeout)
        ports = _use(made, lease)
        with _named(lease, errno.EADDRNOTAVAIL):
            made.connect(target)
        _check(made, ports)
    return made


async def open_connection(
    host: str, port: int, tag: str = COMMON_TAG, *, leases: Iterable[Mapping[str, Any]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As ``asyncio.open_connection``. Raises NoLeaseError, PortsExhaustedError, OSError."""
    return await asyncio.open_connection(sock=await dial((host, port), tag, leases=leases))


def _stream() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


async def dial(
    target: tuple[str, int],
    tag: str = COMMON_TAG,
    *,
    leases: Iterable[Mapping[str, Any]],
    make: Callable[[], socket.socket] = _stream,
) -> socket.socket:
    """A connected socket, for asyncio; ``make`` makes it, where it belongs.

    Raises NoLeaseError, PortsExhaustedError, OSError.
    """
    *others, last = _tagged(leases, tag)
    for lease in others:
        with contextlib.suppress(PortsExhaustedError):
            return await _dial(target, lease, make())
    return await _dial(target, last, make())


async def _dial(
    target: tuple[str, int], lease: Mapping[str, Any], made: socket.socket
) -> socket.socket:
    with _closed_on_error(made):
        ports = _use(made, lease)
        with _named(lease, errno.EADDRNOTAVAIL):
            await asyncio.get_running_loop().sock_connect(made, target)
        _check(made, ports)
    return made


@contextmanager
def _closed_on_error(made: socket.socket) -> Iterator[None]:
    """Leaves no socket behind that nobody gets."""
    try:
        yield
    except BaseException:
        made.close()
        raise


def _check(made: socket.socket, ports: range) -> None:
    """A range outside of the namespace's is ignored by the kernel without a word: see for it."""
    _, port = made.getsockname()
    if port not in ports:
        raise OSError(
            errno.EADDRNOTAVAIL,
            f"the kernel chose port {port}, not one of {ports[0]}-{ports[-1]}: this namespace's"
            " ip_local_port_range does not hold the lease",
        )


@contextmanager
def _named(lease: Mapping[str, Any], exhausted: int) -> Iterator[None]:
    """Says it when all ports are taken, which the kernel calls by this number."""
    try:
        yield
    except OSError as error:
        if error.errno == exhausted:
            raise PortsExhaustedError(
                error.errno,
                f"every port of the lease tagged {lease['tag']!r} is in use towards this"
                " destination: borrow another, or wait for connections to end",
            ) from None
        raise
