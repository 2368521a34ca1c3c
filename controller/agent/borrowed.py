"""Connections from borrowed addresses, for programs on a server.

A server with one lease needs nothing of this: its namespace hands out the right ports to whoever
binds the address. With several leases a program says which tag it wants to be seen with::

    from controller.agent import borrowed

    with borrowed.connect(("172.16.0.1", 80), tag="gb", leases=leases) as made:
        made.sendall(...)

    reader, writer = await borrowed.open_connection("172.16.0.1", 80, tag="gb", leases=leases)

``leases`` is what the agent's status file says of this server (``read``). The kernel chooses the
port when the connection is made, so one port serves as many connections as there are destinations.
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import Any

from topologies.model import COMMON_TAG, SYSTEM_PORTS

__all__ = ["NoLeaseError", "PortsExhaustedError", "bind", "connect", "open_connection", "read"]

IP_BIND_ADDRESS_NO_PORT = 24
IP_LOCAL_PORT_RANGE = 51
"""ip(7); Linux 4.2 and 6.3. Python 3.11 names only the first."""


class NoLeaseError(OSError):
    """The server holds no lease with this tag."""


class PortsExhaustedError(OSError):
    """Every port of the lease is in use towards this destination."""


def read(status: Path, server: str) -> list[dict[str, Any]]:
    """What the agent's status file says of a server."""
    return list(json.loads(status.read_text()).get(server, ()))


def bind(made: socket.socket, leases: Iterable[Mapping[str, Any]], tag: str = COMMON_TAG) -> range:
    """Let a socket use a borrowed address, and only its ports, which are returned.

    Raises NoLeaseError, OSError.
    """
    found = next((lease for lease in leases if lease["tag"] == tag), None)
    if found is None:
        raise NoLeaseError(errno.EADDRNOTAVAIL, f"no lease tagged {tag!r} is held here")
    lowest, highest = max(int(found["first_port"]), SYSTEM_PORTS), int(found["last_port"])
    made.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    made.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, pack("=I", lowest | highest << 16))
    made.bind((str(found["address"]), 0))
    return range(lowest, highest + 1)


def connect(
    target: tuple[str, int],
    tag: str = COMMON_TAG,
    *,
    leases: Iterable[Mapping[str, Any]],
    kind: int = socket.SOCK_STREAM,
    timeout: float | None = None,
) -> socket.socket:
    """A connected socket. Raises NoLeaseError, PortsExhaustedError, OSError."""
    made = socket.socket(socket.AF_INET, kind)
    try:
        made.settimeout(timeout)
        ports = bind(made, leases, tag)
        with _named(tag):
            made.connect(target)
        _check(made, ports)
    except BaseException:
        made.close()
        raise
    return made


async def open_connection(
    host: str, port: int, tag: str = COMMON_TAG, *, leases: Iterable[Mapping[str, Any]]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As ``asyncio.open_connection``. Raises NoLeaseError, PortsExhaustedError, OSError."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        ports = bind(made, leases, tag)
        with _named(tag):
            await asyncio.get_running_loop().sock_connect(made, (host, port))
        _check(made, ports)
    except BaseException:
        made.close()
        raise
    return await asyncio.open_connection(sock=made)


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
def _named(tag: str) -> Iterator[None]:
    """Says it when all ports are taken (TCP: EADDRNOTAVAIL, UDP: EAGAIN)."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAGAIN):
            raise PortsExhaustedError(
                error.errno,
                f"every port of the lease tagged {tag!r} is in use towards this destination:"
                " borrow another, or wait for connections to end",
            ) from None
        raise
