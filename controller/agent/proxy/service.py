"""Listen in a server's namespace, and answer whoever speaks HTTP or SOCKS5."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address

from controller.agent.borrowed import PortsExhaustedError
from controller.agent.proxy import http, socks
from controller.agent.proxy.datagrams import relayed
from controller.agent.proxy.tunnel import (
    CONNECT_TIMEOUT_S,
    Leases,
    Streams,
    Target,
    carry,
    open_tunnel,
)
from topologies.emulation import netns
from topologies.emulation.endpoints.http import MAX_HEAD, HttpError

__all__ = ["PROXY_PORT", "Proxy"]

PROXY_PORT = 808
"""Below 1024, not the usual 3128: connect() skips a port that any listener of the host has, on
whatever address, so a listener within a port set that the host borrows costs it that port."""

BACKLOG = 4096


class Proxy:
    """The proxy of one server."""

    def __init__(self, host: str, leases: Leases) -> None:
        self.exhausted: Counter[str] = Counter()
        """How often all ports of a tag's leases were in use towards a destination, by tag."""
        self._host = host
        self._leases = leases
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen on every address of the server. Raises OSError."""
        listening = netns.open_socket(self._host, socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("", PROXY_PORT))
        self._server = await asyncio.start_server(
            self._serve, sock=listening, backlog=BACKLOG, limit=MAX_HEAD
        )

    async def close(self) -> None:
        """End it, and what it carries."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client, from its request to the end of what it carries."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(ConnectionError, EOFError, TimeoutError):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    first = await reader.readexactly(1)
                if first[0] == socks.VERSION:
                    await self._serve_socks(reader, writer)
                else:
                    await self._serve_http(reader, writer, first)
                await writer.drain()
        finally:
            writer.close()
            self._serving.discard(task)

    async def _serve_http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes
    ) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                target = await http.read_request(reader, first)
            far = await self._open(target)
        except (HttpError, OSError) as error:
            writer.write(http.refusal(error))
            return
        writer.write(http.ESTABLISHED)
        await carry((reader, writer), far)

    async def _serve_socks(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                request = await socks.read_request(reader, writer)
            if request.command is socks.Command.UDP_ASSOCIATE:
                await self._relay(request.target.tag, reader, writer)
                return
            far = await self._open(request.target)
        except (socks.SocksError, OSError) as error:
            writer.write(socks.refusal(error))
            return
        address, port = far[1].get_extra_info("sockname")
        writer.write(socks.answer(socks.Reply.SUCCEEDED, IPv4Address(address), port))
        await carry((reader, writer), far)

    async def _open(self, target: Target) -> Streams:
        with self._counted(target.tag):
            return await open_tunnel(self._host, target, self._leases)

    async def _relay(
        self, tag: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Relay datagrams until the client ends its connection. Raises as ``relayed``."""
        here, client = writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0]
        with self._counted(tag):
            async with relayed(self._host, tag, self._leases, here, client) as (address, port):
                writer.write(socks.answer(socks.Reply.SUCCEEDED, IPv4Address(address), port))
                while await reader.read(1 << 12):
                    pass

    @contextlib.contextmanager
    def _counted(self, tag: str | None) -> Iterator[None]:
        try:
            yield
        except PortsExhaustedError:
            self.exhausted[str(tag)] += 1
            raise
