"""A CONNECT proxy (RFC 9110 section 9.3.6): one server egresses for others.

The field ``Egress-Address: A.B.C.D`` asks it to connect from an address that it borrowed; else
it connects from its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import AddressValueError, IPv4Address

from topologies.emulation import netns
from topologies.emulation.endpoints.http import MAX_HEAD, HttpError, RequestHead, parse_request

__all__ = ["PROXY_PORT", "Tunnel", "parse_connect", "serve_client"]

PROXY_PORT = 808
"""Below 1024, not the usual 3128: connect() skips a port that any listener of the host has, on
whatever address, so a listener within a port set that the host borrows costs it that port."""

CONNECT_TIMEOUT_S = 10.0
_IP_BIND_ADDRESS_NO_PORT = 24


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Where to connect, and from which address (None: the host's own)."""

    address: IPv4Address
    port: int
    egress: IPv4Address | None


def parse_connect(head: RequestHead) -> Tunnel:
    """What a CONNECT request asks for. Names are not resolved: the address must be literal.

    Raises HttpError if it is another method or malformed.
    """
    if head.method != "CONNECT":
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "only CONNECT")
    address, _, port = head.target.rpartition(":")
    egress = head.fields.get("egress-address")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise HttpError(HTTPStatus.BAD_REQUEST, "CONNECT wants ADDRESS:PORT")
    try:
        return Tunnel(IPv4Address(address), int(port), IPv4Address(egress) if egress else None)
    except AddressValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"not an IPv4 address: {error}") from None


async def serve_client(
    host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one client of the proxy in ``host``, from its request to the end of the tunnel."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        try:
            up_reader, up_writer = await _open(host, await _read_tunnel(reader))
        except HttpError as error:
            text = f"{error}\n"
            status = f"HTTP/1.1 {error.status.value} {error.status.phrase}\r\n"
            writer.write(f"{status}Content-Length: {len(text)}\r\n\r\n{text}".encode())
            await writer.drain()
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))
    writer.close()


async def _read_tunnel(reader: asyncio.StreamReader) -> Tunnel:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise HttpError(status, f"the head is over {MAX_HEAD} bytes") from None
    return parse_connect(parse_request(head[:-4]))


async def _open(host: str, tunnel: Tunnel) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from the host. Raises HttpError (502 or 504) if that fails."""
    with netns.inside(host):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if tunnel.egress is not None:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((str(tunnel.egress), 0))
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            target = (str(tunnel.address), tunnel.port)
            await asyncio.get_running_loop().sock_connect(sock, target)
    except TimeoutError:
        sock.close()
        raise HttpError(HTTPStatus.GATEWAY_TIMEOUT, "no answer from the destination") from None
    except OSError as error:
        sock.close()
        raise HttpError(HTTPStatus.BAD_GATEWAY, str(error)) from None
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the sender ends, then pass the end on."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        writer.transport.abort()
