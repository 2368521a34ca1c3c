"""Open every host's sockets and serve them from one event loop."""

from __future__ import annotations

import asyncio
import functools
import resource
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from topologies.emulation import netns
from topologies.emulation.endpoints.echo import ECHO_PORT, echo_waiting, tell_reached
from topologies.emulation.endpoints.http import MAX_HEAD, HttpEndpoint
from topologies.emulation.endpoints.proxy import PROXY_PORT, serve_client
from topologies.plan import HostPlan, HostRole

__all__ = ["HTTP_PORT", "raise_file_limit", "serve"]

HTTP_PORT = 80
_BACKLOG = 4096


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(
    hosts: Iterable[HostPlan], over: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    """Serve all hosts until ``over`` is set; ``on_ready`` is called when every socket listens.

    Clients answer UDP echo; servers and origins HTTP too; servers are proxies as well.
    Raises FileNotFoundError if a host's namespace does not exist, OSError (EADDRINUSE) if
    something else in a host has the port.
    """
    with ExitStack() as opened:
        for host in hosts:
            await _open_host(host, opened)
        on_ready()
        await over.wait()


async def _open_host(host: HostPlan, opened: ExitStack) -> None:
    for family in (socket.AF_INET, socket.AF_INET6):
        await _open_family(host, family, opened)


async def _open_family(host: HostPlan, family: socket.AddressFamily, opened: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    with netns.inside(host.name):  # no await in here: the namespace is the whole thread's
        try:
            echo = opened.enter_context(_socket(family, socket.SOCK_DGRAM, ECHO_PORT))
        except OSError:
            if family == socket.AF_INET:
                raise
            return  # a kernel without IPv6
        web = proxy = None
        if host.role is not HostRole.CLIENT:
            web = opened.enter_context(_socket(family, socket.SOCK_STREAM, HTTP_PORT))
        if host.role is HostRole.SERVER and family == socket.AF_INET:
            proxy = opened.enter_context(_socket(family, socket.SOCK_STREAM, PROXY_PORT))
    tell_reached(echo)
    loop.add_reader(echo, echo_waiting, echo)
    opened.callback(loop.remove_reader, echo)
    if web is not None:
        connection = functools.partial(HttpEndpoint, host)
        server = await loop.create_server(connection, sock=web, backlog=_BACKLOG)
        opened.callback(server.close)
    if proxy is not None:
        client = functools.partial(serve_client, host.name)
        server = await asyncio.start_server(client, sock=proxy, backlog=_BACKLOG, limit=MAX_HEAD)
        opened.callback(server.close)


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
