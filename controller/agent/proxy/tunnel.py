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

__all__ = ["CONNECT_TIMEOUT_S", "Leases", "Target", "carry", "open_tunnel"]

CONNECT_TIMEOUT_S = 10.0
CHUNK = 1 << 16

Leases = Callable[[], Iterable[Mapping[str, Any]]]
"""What a server holds at the moment, as ``Held.describe`` says it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect to, and the tag to be seen with; None: from the server's own address."""

    address: IPv4Address
    port: int
    tag: str | None = None


async def open_tunnel(
    host: str, target: Target, leases: Leases
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
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


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the sender ends, then pass the end on."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        writer.transport.abort()
