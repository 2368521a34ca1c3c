"""Open the hosts' sockets and serve them from one event loop."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from topologies.binding import Binding, binding
from topologies.emulation import netns
from topologies.emulation.endpoints.datagram import Answer, answer_waiting, tell_reached
from topologies.emulation.endpoints.dns_stream import DnsStream
from topologies.emulation.endpoints.echo import ECHO_PORT, echo
from topologies.emulation.endpoints.flows import Flows
from topologies.emulation.endpoints.http import HttpEndpoint
from topologies.emulation.endpoints.zone import Zone
from topologies.model import Names
from topologies.plan import HostPlan, HostRole, Plan

__all__ = ["DNS_PORT", "HTTP_PORT", "Services", "raise_file_limit"]

DNS_PORT = 53
HTTP_PORT = 80
_BACKLOG = 4096
_MOST_FILES = Path("/proc/sys/fs/nr_open")


def raise_file_limit() -> None:
    """Allow as many open files as the kernel lets a process have; without privilege its limit.

    A connection that its client has given up stays open here, as no packet says so: a study that
    breaks connections leaves thousands of them.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(hard, int(_MOST_FILES.read_text()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Services:
    """What the hosts of a network serve: opened host by host, ended host by host."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self._plan = plan
        self._seed = seed
        self._open: dict[str, ExitStack] = {}
        self._zones: dict[str, Zone] = {}
        self._how, self._addresses = plan.network.names, plan.network.services
        self._turn = 0

    async def start_all(self) -> None:
        """Serve all hosts. Raises as ``start``."""
        for host in self._plan.hosts:
            await self.start(host.name)

    async def start(self, name: str) -> None:
        """Serve a host: UDP echo; of servers and origins HTTP too, of servers DNS.

        Raises KeyError for an unknown host, FileNotFoundError if its namespace does not exist,
        OSError (EADDRINUSE) if something, we ourselves perhaps, has the port.
        """
        host = self._plan.host(name)
        zone = self._zone(host) if host.role is HostRole.SERVER else None
        with ExitStack() as opened:
            for family in (socket.AF_INET, socket.AF_INET6):
                await self._open_family(host, zone, family, opened)
            self._open[name] = opened.pop_all()
        if zone is not None:
            self._zones[name] = zone

    def bind(self, how: Names, among: Sequence[IPv4Network]) -> None:
        """Bind names otherwise from now on, to the addresses of some prefixes: at every server.

        Raises ValueError without an address, or for one that is no service address.
        """
        addresses = tuple(address for prefix in among for address in prefix)
        foreign = set(addresses).difference(self._plan.network.services)
        if foreign or not addresses:
            raise ValueError(f"{min(foreign) if foreign else 'nothing'} is no service address")
        self._how, self._addresses = how, addresses
        self._turn += 1
        for name, zone in self._zones.items():
            zone.bind = self._binding(name)

    def _binding(self, server: str) -> Binding:
        """How a server binds names: it draws by a seed of its own, and by another one each time."""
        again = f" {self._turn}" if self._turn else ""
        return binding(self._how, self._addresses, f"{self._seed} {server}{again}")

    def _zone(self, host: HostPlan) -> Zone:
        """What a server that starts now knows of the network's names."""
        return Zone(self._plan.network.zone, self._binding(host.name), host.name)

    def stop(self, name: str) -> None:
        """End what a host serves as a crash would: ports closed, connections reset.

        Raises KeyError for a host that is not served.
        """
        self._open.pop(name).close()

    def stop_all(self) -> None:
        """End everything."""
        for name in list(self._open):
            self.stop(name)

    async def _open_family(
        self, host: HostPlan, zone: Zone | None, family: socket.AddressFamily, opened: ExitStack
    ) -> None:
        def listen(kind: socket.SocketKind, port: int) -> socket.socket:
            return opened.enter_context(_socket(family, kind, port))

        with netns.inside(host.name):  # no await in here: the namespace is the whole thread's
            try:
                echoes = listen(socket.SOCK_DGRAM, ECHO_PORT)
            except OSError as error:
                if family == socket.AF_INET or error.errno == errno.EADDRINUSE:
                    raise
                return  # a kernel without IPv6
            if host.role is not HostRole.CLIENT:
                web = listen(socket.SOCK_STREAM, HTTP_PORT)
            if zone is not None:
                queries = listen(socket.SOCK_DGRAM, DNS_PORT)
                streams = listen(socket.SOCK_STREAM, DNS_PORT)
        self._serve_datagrams(host, echoes, echo, opened)
        if host.role is not HostRole.CLIENT:
            await _serve_stream(web, partial(HttpEndpoint, host), opened)
        if zone is not None:
            self._serve_datagrams(host, queries, lambda query, _port: zone.answer(query), opened)
            await _serve_stream(streams, partial(DnsStream, zone.answer), opened)

    def _serve_datagrams(
        self, host: HostPlan, sock: socket.socket, answer: Answer, opened: ExitStack
    ) -> None:
        """A service of a server that keeps flows has a socket for each of them."""
        keeps = sock.getsockname()[1] in self._plan.network.second_chance_udp
        if keeps and host.role is HostRole.SERVER:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.callback(Flows(sock, answer, host.name).close)
            return
        loop = asyncio.get_running_loop()
        tell_reached(sock)
        loop.add_reader(sock, answer_waiting, sock, answer)
        opened.callback(loop.remove_reader, sock)


async def _serve_stream(
    sock: socket.socket, protocol: Callable[..., asyncio.Protocol], opened: ExitStack
) -> None:
    """``protocol`` takes the set of its ``connections``."""
    connections: set[asyncio.Transport] = set()
    connection = partial(protocol, connections=connections)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, sock=sock, backlog=_BACKLOG)
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
