"""HTTP GETs from inside hosts, direct or through a CONNECT proxy, with the times of each step."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Literal

from experiments.measure.dial import Outcome, dial, failure, paced
from experiments.measure.kernel import Ports
from topologies.emulation.endpoints.proxy import PROXY_PORT

__all__ = ["HttpRow", "Proxy", "Request", "get", "parse_fields", "parse_head"]

HttpOutcome = Outcome | Literal["proxy refused", "bad answer"]
"""``proxy refused``: the proxy answered, but not 200. ``bad answer``: not HTTP, or cut short."""

_KEEP_BODY = 65_536
_MAX_HEAD = 16_384


@dataclass(frozen=True, slots=True)
class Proxy:
    """A CONNECT proxy; ``egress`` is the source that it shall connect from (else its own)."""

    address: IPv4Address
    port: int = PROXY_PORT
    egress: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Which host gets what from where; ``ports`` is the source port set, first and last."""

    host: str
    destination: IPv4Address
    path: str = "/trace"
    port: int = 80
    source: IPv4Address | None = None
    ports: Ports | None = None
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class HttpRow:
    """One request; ``request`` is its place in the list of requests.

    Times are from connect(): ``connect_ns`` until connected (to the proxy if there is one),
    ``ttfb_ns`` until the first byte of the answer, ``total_ns`` until its end; None for a step
    that was not reached. ``outcome`` is ``ok`` for a whole answer, whatever its status.
    ``fields`` are the key=value lines of a text body of up to 64 KiB.
    """

    request: int
    host: str
    source: IPv4Address | None
    destination: IPv4Address
    path: str
    outcome: HttpOutcome
    local_address: IPv4Address | None = None
    local_port: int | None = None
    status: int | None = None
    connect_ns: int | None = None
    ttfb_ns: int | None = None
    total_ns: int | None = None
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
        return await _get(index, request, timeout_s)

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


async def _get(index: int, request: Request, timeout_s: float) -> HttpRow:
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
    row = replace(row, connect_ns=dialled.connect_ns)
    reader, writer = await asyncio.open_connection(sock=dialled.sock, limit=_MAX_HEAD)
    exchange = _Exchange(start, reader, writer)
    try:
        left_s = timeout_s - (time.monotonic_ns() - start) / 1e9
        async with asyncio.timeout(left_s):
            await exchange.run(request)
        outcome: HttpOutcome = "ok"
    except _ProxyRefusedError:
        outcome = "proxy refused"
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        outcome = "bad answer"
    except OSError as error:
        outcome = failure(error)
    finally:
        # Nothing is left to send, and a whole answer ended in the server's FIN.
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return replace(
        row,
        outcome=outcome,
        status=exchange.status,
        ttfb_ns=exchange.ttfb_ns,
        total_ns=exchange.total_ns,
        body_bytes=exchange.body_bytes,
        fields=parse_fields(bytes(exchange.body)),
    )


class _Exchange:
    """One request and its answer on an open connection; times are from ``start_ns``."""

    def __init__(
        self, start_ns: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._start_ns = start_ns
        self._reader = reader
        self._writer = writer
        self.status: int | None = None
        self.ttfb_ns: int | None = None
        self.total_ns: int | None = None
        self.body_bytes = 0
        self.body = bytearray()

    async def run(self, request: Request) -> None:
        target = f"{request.destination}:{request.port}"
        if request.proxy is not None:
            await self._open_tunnel(target, request.proxy)
        self._send(f"GET {request.path} HTTP/1.1", f"Host: {target}", "Connection: close")
        first = await self._reader.readexactly(1)
        self.ttfb_ns = time.monotonic_ns() - self._start_ns
        self.status, length = parse_head(first + await self._reader.readuntil(b"\r\n\r\n"))
        await self._read_body(length)
        self.total_ns = time.monotonic_ns() - self._start_ns

    async def _open_tunnel(self, target: str, proxy: Proxy) -> None:
        egress = [f"Egress-Address: {proxy.egress}"] if proxy.egress else []
        self._send(f"CONNECT {target} HTTP/1.1", f"Host: {target}", *egress)
        status, _ = parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        if status != 200:
            raise _ProxyRefusedError(str(status))

    def _send(self, *lines: str) -> None:
        self._writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def _read_body(self, length: int | None) -> None:
        """Read to the stated length, and on to the server's close.

        Raises IncompleteReadError if the body ends early.
        """
        while chunk := await self._reader.read(1 << 16):
            self.body_bytes += len(chunk)
            if len(self.body) + len(chunk) <= _KEEP_BODY:
                self.body += chunk
        if length is not None and self.body_bytes != length:
            raise asyncio.IncompleteReadError(b"", length)
