"""A tiny strict HTTP/1.1 server (RFC 9112): GET and HEAD, keep-alive, no request bodies.

``GET /trace`` (or ``/whoami``) tells who answered and whom it saw, as key=value lines;
``GET /bytes/N`` streams N zero bytes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from topologies.plan import HostPlan, HostRole

__all__ = [
    "MAX_HEAD",
    "HttpEndpoint",
    "HttpError",
    "Peers",
    "RequestHead",
    "parse_request",
    "trace",
]

MAX_HEAD = 8192
"""Bytes of a request's head; a longer one is refused with status 431."""

MAX_STREAM = 10**12
_CHUNK = bytes(1 << 16)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STREAM = re.compile(r"/bytes/([0-9]{1,13})")


class HttpError(Exception):
    """A request that is answered with an error status, after which the connection ends."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request line and its header fields; names are in lower case."""

    method: str
    target: str
    version: str
    fields: dict[str, str]

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the answer (RFC 9112 section 9.3)."""
        options = {
            option.strip() for option in self.fields.get("connection", "").lower().split(",")
        }
        if self.version == "HTTP/1.1":
            return "close" not in options
        return "keep-alive" in options


def parse_request(head: bytes) -> RequestHead:
    """Read a request's head, without the empty line that ends it.

    Raises HttpError on anything that is not well-formed, or that announces a body.
    """
    try:
        first, *lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the head is not ASCII") from None
    parts = first.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1]:
        raise HttpError(HTTPStatus.BAD_REQUEST, "the request line is malformed")
    method, target, version = parts
    if version not in ("HTTP/1.0", "HTTP/1.1"):
        raise HttpError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1")
    fields = _parse_fields(lines)
    if version == "HTTP/1.1" and "host" not in fields:
        raise HttpError(HTTPStatus.BAD_REQUEST, "HTTP/1.1 needs a Host field")
    if "transfer-encoding" in fields or fields.get("content-length", "0") != "0":
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request bodies are not taken")
    return RequestHead(method, target, version, fields)


def _parse_fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value:
            raise HttpError(HTTPStatus.BAD_REQUEST, "a header field is malformed")
        if name.lower() in fields and name.lower() in ("host", "content-length"):
            raise HttpError(HTTPStatus.BAD_REQUEST, f"two {name} fields")
        fields[name.lower()] = value.strip(" \t")
    return fields


@dataclass(frozen=True, slots=True)
class Peers:
    """Both ends of a connection: who asked, and at which address this host was reached."""

    client: str
    client_port: int
    reached: str


def trace(host: HostPlan, peers: Peers, now_s: float) -> bytes:
    """The body of /trace: key=value lines like those of Cloudflare's /cdn-cgi/trace.

    A server names its PoP (``pop``, ``server``), an origin its city (``city``, ``origin``);
    ``host`` is the address that was reached, ``ts`` the wall clock in seconds.
    """
    if host.role is HostRole.SERVER:
        identity = {"pop": host.city, "server": host.name}
    else:
        identity = {"city": host.city, host.role.value: host.name}
    lines = {
        **identity,
        "client": peers.client,
        "client_port": peers.client_port,
        "host": peers.reached,
        "ts": f"{now_s:.3f}",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items()).encode("ascii")


class HttpEndpoint(asyncio.Protocol):
    """One connection to one host. ``now_s`` gives the wall clock; it is one of ``connections``."""

    def __init__(
        self,
        host: HostPlan,
        now_s: Callable[[], float] = time.time,
        connections: set[asyncio.Transport] | None = None,
    ) -> None:
        self._host = host
        self._now_s = now_s
        self._connections = set() if connections is None else connections
        self._buffer = bytearray()
        self._stream_left = 0
        self._writable = True
        self._end_after = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn who connected, and to which address."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        client, port, *_ = transport.get_extra_info("peername")
        self._peers = Peers(client, port, transport.get_extra_info("sockname")[0])
        self._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """It is no longer one of them."""
        del error
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, and answer what is whole."""
        self._buffer += data
        self._answer_all()

    def pause_writing(self) -> None:
        """Hold a stream while the client is slow."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on with a stream, then with the requests behind it."""
        self._writable = True
        if self._stream_left:
            # Not from within this call: asyncio 3.11 ends a connection twice if it is closed here.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._stream()
        self._answer_all()

    def _answer_all(self) -> None:
        """Answer every whole request in the buffer, in order, unless a stream is under way."""
        try:
            while not self._stream_left and not self._transport.is_closing():
                end = self._buffer.find(b"\r\n\r\n")
                if (end if end >= 0 else len(self._buffer)) > MAX_HEAD:
                    raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head too large")
                if end < 0:
                    return
                head = parse_request(bytes(self._buffer[:end]))
                del self._buffer[: end + 4]
                self._answer(head)
        except HttpError as error:
            self._send(error.status, f"{error}\n".encode(), keep_alive=False, body=True)

    def _answer(self, head: RequestHead) -> None:
        if head.method not in ("GET", "HEAD"):
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        body = head.method == "GET"
        if head.target in ("/trace", "/whoami"):
            text = trace(self._host, self._peers, self._now_s())
            self._send(HTTPStatus.OK, text, head.keep_alive, body)
        elif (wanted := _STREAM.fullmatch(head.target)) and int(wanted[1]) <= MAX_STREAM:
            self._start_stream(int(wanted[1]), head.keep_alive, body)
        else:
            text = b"there are /trace, /whoami and /bytes/N\n"
            self._send(HTTPStatus.NOT_FOUND, text, head.keep_alive, body)

    def _send(self, status: HTTPStatus, text: bytes, keep_alive: bool, body: bool) -> None:
        head = _response_head(status, "text/plain", len(text), keep_alive)
        self._transport.write(head + (text if body else b""))
        if not keep_alive:
            self._transport.close()

    def _start_stream(self, length: int, keep_alive: bool, body: bool) -> None:
        kind = "application/octet-stream"
        self._transport.write(_response_head(HTTPStatus.OK, kind, length, keep_alive))
        self._stream_left = length if body else 0
        self._end_after = not keep_alive
        if self._stream_left:
            self._transport.pause_reading()
        self._stream()

    def _stream(self) -> None:
        while self._stream_left and self._writable and not self._transport.is_closing():
            chunk = memoryview(_CHUNK)[: self._stream_left]
            self._stream_left -= len(chunk)
            self._transport.write(chunk)
        if self._stream_left or self._transport.is_closing():
            return
        if self._end_after:
            self._transport.close()
        else:
            self._transport.resume_reading()


def _response_head(status: HTTPStatus, kind: str, length: int, keep_alive: bool) -> bytes:
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\n{allow}"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    ).encode("ascii")
