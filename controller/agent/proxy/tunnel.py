"""Connections out of a server, from a lease or from its own address, and what they carry."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from controller.agent import borrowed
from topologies.emulation import netns

__all__ = ["CONNECT_TIMEOUT_S", "Leases", "Streams", "Target", "carry", "open_tunnel"]

CONNECT_TIMEOUT_S = 10.0
CHUNK = 1 << 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""One end of a connection."""

Leases = Callable[[], Iterable[Mapping[str, Any]]]
"""What a server holds at the moment, as ``Held.describe`` says it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to, and the tag to be seen with; None: from the server's own address."""

    address: IPv4Address
    port: int
    tag: str | None = None


async def open_tunnel(host: str, target: Target, leases: Leases) -> Streams:
    """Connect from a host. Raises NoLeaseError, PortsExhaustedError, TimeoutError, OSError."""
    where = (str(target.address), target.port)

    def make() -> socket.socket:
        return netns.open_socket(host, socket.AF_INET, socket.SOCK_STREAM)

    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        if target.tag is not None:
            made = await borrowed.dial(where, target.tag, leases=leases(), make=make)
        else:
            made = make()
            try:
                await asyncio.get_running_loop().sock_connect(made, where)
            except BaseException:
                made.close()
                raise
    return await asyncio.open_connection(sock=made)


async def carry(near: Streams, far: Streams) -> None:
    """Carry bytes both ways until both senders have ended, or one is gone; then close ``far``.

    Whoever is left when the other is gone is told so by a reset.
    """
    try:
        async with asyncio.TaskGroup() as ways:
            ways.create_task(_carry(near[0], far[1]))
            ways.create_task(_carry(far[0], near[1]))
    except* OSError:
        for _, writer in (near, far):
            writer.transport.abort()
    finally:
        far[1].close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the sender ends, then pass the end on. Raises OSError."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
