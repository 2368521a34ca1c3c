"""HTTP CONNECT (RFC 9110 section 9.3.6): requests read, answers made."""

from __future__ import annotations

import asyncio
import base64
import binascii
from http import HTTPStatus
from ipaddress import AddressValueError, IPv4Address

from controller.agent.borrowed import NoLeaseError, PortsExhaustedError
from controller.agent.proxy.tunnel import Target
from topologies.emulation.endpoints.http import MAX_HEAD, HttpError, RequestHead, parse_request

__all__ = ["ESTABLISHED", "parse_connect", "read_request", "refusal"]

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

_STATUS: tuple[tuple[type[OSError], HTTPStatus], ...] = (
    (NoLeaseError, HTTPStatus.FORBIDDEN),
    (PortsExhaustedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (OSError, HTTPStatus.BAD_GATEWAY),
)


async def read_request(reader: asyncio.StreamReader, first: bytes) -> Target:
    """What a client asks for; ``first`` was read before. Raises HttpError, EOFError."""
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise HttpError(status, f"the head is over {MAX_HEAD} bytes") from None
    return parse_connect(parse_request(head[:-4]))


def parse_connect(head: RequestHead) -> Target:
    """The destination of a CONNECT request, and the tag: the user of Proxy-Authorization.

    Raises HttpError if it is another method or malformed.
    """
    if head.method != "CONNECT":
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "only CONNECT")
    address, _, port = head.target.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        raise HttpError(HTTPStatus.BAD_REQUEST, "CONNECT wants ADDRESS:PORT")
    try:
        target = IPv4Address(address)
    except AddressValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"not an IPv4 address: {error}") from None
    return Target(target, int(port), _user(head.fields.get("proxy-authorization")))


def _user(words: str | None) -> str | None:
    """The user name of Basic credentials (RFC 7617). Raises HttpError."""
    if words is None:
        return None
    scheme, _, encoded = words.partition(" ")
    try:
        user, colon, _ = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = ""
    if scheme.lower() != "basic" or not colon:
        raise HttpError(HTTPStatus.BAD_REQUEST, "Proxy-Authorization is 'Basic TAG:' in base64")
    return user or None


def refusal(error: OSError | HttpError) -> bytes:
    """The answer when there is no tunnel."""
    if isinstance(error, HttpError):
        status = error.status
    else:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
    text = f"{error}\n".encode("ascii", "backslashreplace")
    allow = "Allow: CONNECT\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    length = f"Content-Length: {len(text)}\r\n"
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{allow}{length}\r\n"
    return head.encode() + text
