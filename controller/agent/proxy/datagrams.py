"""Datagrams for a SOCKS5 client: out of a lease, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from controller.agent import borrowed
from controller.agent.proxy import socks
from controller.agent.proxy.tunnel import Leases
from topologies.emulation import netns

__all__ = ["relayed"]

UDP = socket.AF_INET, socket.SOCK_DGRAM


@contextlib.asynccontextmanager
async def relayed(
    host: str, tag: str | None, leases: Leases, here: str, client: str
) -> AsyncIterator[tuple[str, int]]:
    """A relay in ``host`` between ``client`` and the world: its address, for as long as it lasts.

    It takes the client's datagrams at the address ``here``. Raises NoLeaseError, OSError.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        inner = opened.enter_context(netns.open_socket(host, *UDP))
        inner.bind((here, 0))
        outer = opened.enter_context(netns.open_socket(host, *UDP))
        if tag is not None:
            borrowed.bind(outer, leases(), tag)
        relay = _Relay(inner, outer, client)
        for reading, waiting in ((inner, relay.from_client), (outer, relay.from_world)):
            loop.add_reader(reading, waiting)
            opened.callback(loop.remove_reader, reading)
        yield inner.getsockname()


class _Relay:
    """Between two sockets. What cannot be sent is lost, as datagrams are."""

    def __init__(self, inner: socket.socket, outer: socket.socket, client: str) -> None:
        self._inner, self._outer, self._client = inner, outer, client
        self._back: tuple[str, int] | None = None

    def from_client(self) -> None:
        """Pass on what the client sent; remember from where."""
        with contextlib.suppress(OSError):
            data, source = self._inner.recvfrom(1 << 16)
            found = socks.unwrap(data)
            if source[0] == self._client and found is not None:
                self._back = source
                where, payload = found
                self._outer.sendto(payload, where)

    def from_world(self) -> None:
        """Pass on what came back."""
        with contextlib.suppress(OSError):
            data, source = self._outer.recvfrom(1 << 16)
            if self._back is not None:
                self._inner.sendto(socks.wrap(source, data), self._back)
