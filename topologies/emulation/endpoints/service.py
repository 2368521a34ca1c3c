"""Open the hosts' sockets and serve them from one event loop."""

from __future__ import annotations

import asyncio
import errno
import functools
import resource
import socket
import struct
from collections.abc import Iterable
from contextlib import ExitStack

from topologies.emulation import netns
from topologies.emulation.endpoints.echo import ECHO_PORT, echo_waiting, tell_reached
from topologies.emulation.endpoints.http import HttpEndpoint
from topologies.plan import HostPlan, HostRole

__all__ = ["HTTP_PORT", "Services", "raise_file_limit"]

HTTP_PORT = 80
_BACKLOG = 4096


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Services:
    """What the hosts of a network serve: opened host by host, ended host by host."""

    def __init__(self, hosts: Iterable[HostPlan]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._open: dict[str, ExitStack] = {}

    async def start_all(self) -> None:
        """Serve all hosts. Raises as ``start``."""
        for name in self._hosts:
            await self.start(name)

    async def start(self, name: str) -> None:
        """Serve a host: UDP echo; of servers and origins HTTP too.

        Raises KeyError for an unknown host, FileNotFoundError if its namespace does not exist,
        OSError (EADDRINUSE) if something, we ourselves perhaps, has the port.
        """
        host = self._hosts[name]
        with ExitStack() as opened:
            for family in (socket.AF_INET, socket.AF_INET6):
                await _open_family(host, family, opened)
            self._open[name] = opened.pop_all()

    def stop(self, name: str) -> None:
        """End what a host serves as a crash would: ports closed, connections reset.

        Raises KeyError for a host that is not served.
        """
        self._open.pop(name).close()

    def stop_all(self) -> None:
        """End everything."""
        for name in list(self._open):
            self.stop(name)


async def _open_family(host: HostPlan, family: socket.AddressFamily, opened: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    with netns.inside(host.name):  # no await in here: the namespace is the whole thread's
        try:
            echo = opened.enter_context(_socket(family, socket.SOCK_DGRAM, ECHO_PORT))
        except OSError as error:
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                raise
            return  # a kernel without IPv6
        web = None
        if host.role is not HostRole.CLIENT:
            web = opened.enter_context(_socket(family, socket.SOCK_STREAM, HTTP_PORT))
    tell_reached(echo)
    loop.add_reader(echo, echo_waiting, echo)
    opened.callback(loop.remove_reader, echo)
    if web is not None:
        connections: set[asyncio.Transport] = set()
        connection = functools.partial(HttpEndpoint, host, connections=connections)
        server = await loop.create_server(connection, sock=web, backlog=_BACKLOG)
        opened.callback(_reset, connections)
        opened.callback(server.close)


def _reset(connections: set[asyncio.Transport]) -> None:
    """End connections without a goodbye, as the kernel does for a program that died."""
    for transport in list(connections):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _socket(family: socket.AddressFamily, kind: int, port: int) -> socket.socket:
    """A socket on every address of this namespace, those that it borrows later included."""
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock
