"""HTTP GETs from inside hosts, direct or through a CONNECT proxy, with the times of each step."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Literal

from controller.agent.proxy import PROXY_PORT
from experiments.measure.dial import Outcome, dial, failure, paced
from experiments.measure.kernel import Ports, handshake_rtt_ns
from topologies.family import Address

__all__ = ["HttpRow", "Proxy", "Request", "fetch", "get", "parse_fields", "parse_head"]

HttpOutcome = Outcome | Literal["proxy refused", "bad answer"]
"""``proxy refused``: the proxy answered, but not 200. ``bad answer``: not HTTP, or cut short."""

_KEEP_BODY = 65_536
_MAX_HEAD = 16_384


@dataclass(frozen=True, slots=True)
class Proxy:
    """A CONNECT proxy; it shall connect from its lease with this ``tag`` (else its own address)."""

    address: IPv4Address
    port: int = PROXY_PORT
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Which host gets what from where; ``ports`` is the source port set, first and last.

    ``warm`` asks a second time on the same connection, for the RTT of an exchange alone.
    """

    host: str
    destination: Address
    path: str = "/trace"
    port: int = 80
    source: Address | None = None
    ports: Ports | None = None
    proxy: Proxy | None = None
    warm: bool = False


@dataclass(frozen=True, slots=True)
class HttpRow:
    """One request; ``request`` is its place in the list of requests.

    Times are from connect(): ``connect_ns`` until connected (to the proxy if there is one),
    ``ttfb_ns`` until the first byte of the answer, ``total_ns`` until its end; None for a step
    that was not reached. They hold this process' and the server's wake-ups;
    ``handshake_rtt_ns`` is the kernel's own RTT of the connection. ``outcome`` is ``ok`` for a
    whole answer, whatever its status.
    ``warm_rtt_ns`` is from sending the second request to the first byte of its answer: the RTT
    to whoever answers, proxy or not, without the cost of opening connections.
    ``fields`` are the key=value lines of a text body of up to 64 KiB.
    """

    request: int
    host: str
    source: Address | None
    destination: Address
    path: str
    outcome: HttpOutcome
    local_address: Address | None = None
    local_port: int | None = None
    status: int | None = None
    connect_ns: int | None = None
    handshake_rtt_ns: int | None = None
    ttfb_ns: int | None = None
    total_ns: int | None = None
    warm_rtt_ns: int | None = None
    body_bytes: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)


def get(
    requests: Sequence[Request],
    *,
    timeout_s: float = 10.0,
    at_once: int = 256,
    spacing_s: float = 0.001,
) -> list[HttpRow]:
    """Make each request on a connection of its own; rows in the same order.

    ``timeout_s`` is for the whole of one request. The server closes first, so that no source
    port lingers in TIME_WAIT at the host that asked.

    Raises FileNotFoundError if a host does not exist; RuntimeError if the kernel took a port
    outside ``ports`` (its sysctl does not hold the range).
    """

    async def one(index: int, request: Request) -> HttpRow:
        return await fetch(index, request, timeout_s)

    return asyncio.run(paced(requests, one, at_once=at_once, spacing_s=spacing_s))


def parse_fields(body: bytes) -> dict[str, str]:
    """The key=value lines of a body; lines without ``=`` are passed over."""
    lines = body.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def parse_head(head: bytes) -> tuple[int, int | None]:
    """Status and Content-Length (None if absent) of an answer's head (RFC 9112).

    Raises ValueError if it is not one.
    """
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, tail = first.partition(" ")
    if not version.startswith("HTTP/1.") or not tail[:3].isdigit():
        raise ValueError(f"not an HTTP/1 answer: {first[:60]!r}")
    length = None
    for line in rest:
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-length":
            length = int(value)
    return int(tail[:3]), length


class _ProxyRefusedError(Exception):
    """The proxy did not open the connection."""


async def fetch(index: int, request: Request, timeout_s: float) -> HttpRow:
    """Make one request, for which ``index`` stands; otherwise as ``get``."""
    row = HttpRow(
        index, request.host, request.source, request.destination, request.path, outcome="timeout"
    )
    proxy = request.proxy
    start = time.monotonic_ns()
    via = (proxy.address, proxy.port) if proxy else (request.destination, request.port)
    dialled = await dial(
        request.host, via, source=request.source, ports=request.ports, timeout_s=timeout_s
    )
    address, port = dialled.local or (None, None)
    row = replace(row, outcome=dialled.outcome, local_address=address, local_port=port)
    if dialled.sock is None:
        return row
    row = replace(
        row, connect_ns=dialled.connect_ns, handshake_rtt_ns=handshake_rtt_ns(dialled.sock)
    )
    with dialled.sock as sock:
        exchange = _Exchange(start, sock)
        outcome = await exchange.run(request, timeout_s)
    return replace(
        row,
        outcome=outcome,
        status=exchange.status,
        ttfb_ns=exchange.ttfb_ns,
        total_ns=exchange.total_ns,
        warm_rtt_ns=exchange.warm_rtt_ns,
        body_bytes=exchange.body_bytes,
        fields=parse_fields(bytes(exchange.body)),
    )


class _Exchange:
    """One request and its answer on an open connection; times are from ``start_ns``.

    It works on the bare socket: asyncio's streams cost more than the exchange itself.
    """

    def __init__(self, start_ns: int, sock: socket.socket) -> None:
        self._start_ns = start_ns
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._unread = b""
        self.status: int | None = None
        self.ttfb_ns: int | None = None
        self.total_ns: int | None = None
        self.warm_rtt_ns: int | None = None
        self.body_bytes = 0
        self.body = bytearray()

    async def run(self, request: Request, timeout_s: float) -> HttpOutcome:
        left_s = timeout_s - self._since_start_ns() / 1e9
        try:
            async with asyncio.timeout(left_s):
                await self._get(request)
        except _ProxyRefusedError:
            return "proxy refused"
        except ValueError:
            return "bad answer"
        except OSError as error:
            return failure(error)
        return "ok"

    async def _get(self, request: Request) -> None:
        host = request.destination
        target = f"[{host}]:{request.port}" if host.version == 6 else f"{host}:{request.port}"
        if request.proxy is not None:
            await self._open_tunnel(target, request.proxy)
        ask = [f"GET {request.path} HTTP/1.1", f"Host: {target}"]
        last = [*ask, "Connection: close"]
        await self._send(*(ask if request.warm else last))
        await self._receive()
        self.ttfb_ns = self._since_start_ns()
        self.status, length = parse_head(await self._read_head())
        await self._read_body(length)
        self.total_ns = self._since_start_ns()
        if request.warm:
            before_ns = self._since_start_ns()
            await self._send(*last)
            if await self._receive():
                self.warm_rtt_ns = self._since_start_ns() - before_ns
        while await self._receive():  # to the server's FIN, so that it is the first to close
            self._unread = b""

    async def _open_tunnel(self, target: str, proxy: Proxy) -> None:
        user = None if proxy.tag is None else base64.b64encode(f"{proxy.tag}:".encode()).decode()
        login = [f"Proxy-Authorization: Basic {user}"] if user else []
        await self._send(f"CONNECT {target} HTTP/1.1", f"Host: {target}", *login)
        status, _ = parse_head(await self._read_head())
        if status != 200:
            raise _ProxyRefusedError(str(status))

    def _since_start_ns(self) -> int:
        return time.monotonic_ns() - self._start_ns

    async def _send(self, *lines: str) -> None:
        await self._loop.sock_sendall(self._sock, "\r\n".join((*lines, "", "")).encode("latin-1"))

    async def _receive(self) -> bool:
        """Take in what comes next; False at the end."""
        piece = await self._loop.sock_recv(self._sock, 1 << 16)
        self._unread += piece
        return bool(piece)

    async def _read_head(self) -> bytes:
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            if len(self._unread) > _MAX_HEAD or not await self._receive():
                raise ValueError("the answer's head has no end")
        head, self._unread = self._unread[:end], self._unread[end + 4 :]
        return head

    async def _read_body(self, length: int | None) -> None:
        """Read as much as was announced, or to the end. Raises ValueError if that comes early."""
        while length is None or self.body_bytes < length:
            if not self._unread and not await self._receive():
                break
            self.body_bytes += len(self._unread)
            if self.body_bytes <= _KEEP_BODY:
                self.body += self._unread
            self._unread = b""
        if length is not None and self.body_bytes != length:
            raise ValueError(f"a body of {self.body_bytes} bytes, {length} were announced")
