"""SOCKS5 (RFC 1928) with user names (RFC 1929): requests read, answers made."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import AddressValueError, IPv4Address

from controller.agent.borrowed import NoLeaseError, PortsExhaustedError
from controller.agent.proxy.tunnel import Target

__all__ = [
    "VERSION",
    "Command",
    "Reply",
    "Request",
    "SocksError",
    "answer",
    "read_request",
    "refusal",
    "unwrap",
    "wrap",
]

VERSION = 5
LOGIN_VERSION = 1
NO_LOGIN, LOGIN, NO_METHOD = 0, 2, 0xFF
IPV4, NAME = 1, 3
NOWHERE = IPv4Address(0)


class Command(IntEnum):
    """What may be asked for."""

    CONNECT = 1
    UDP_ASSOCIATE = 3


class Reply(IntEnum):
    """How it went (RFC 1928 section 6)."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    REFUSED = 5
    TTL_EXPIRED = 6
    NO_COMMAND = 7
    NO_ADDRESS_TYPE = 8


_REPLIES: tuple[tuple[type[OSError], Reply], ...] = (
    (NoLeaseError, Reply.NOT_ALLOWED),
    (PortsExhaustedError, Reply.FAILURE),
    (TimeoutError, Reply.TTL_EXPIRED),
    (ConnectionRefusedError, Reply.REFUSED),
    (OSError, Reply.HOST_UNREACHABLE),
)


class SocksError(Exception):
    """A request that is refused; ``reply`` says so to the client, if it can still be told."""

    def __init__(self, reply: Reply | None, detail: str) -> None:
        super().__init__(detail)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Request:
    """A command, and what it is about."""

    command: Command
    target: Target


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """What a client asks for, its version read before. Raises SocksError, EOFError.

    Where datagrams will come from is not asked of a client that may not know it itself.
    """
    tag = await _read_user(reader, writer)
    version, command, _, kind = await reader.readexactly(4)
    if version != VERSION:
        raise SocksError(None, f"a request of version {version}")
    address = await _read_address(reader, kind)
    (port,) = struct.unpack("!H", await reader.readexactly(2))
    if command == Command.UDP_ASSOCIATE:
        return Request(Command.UDP_ASSOCIATE, Target(NOWHERE, port, tag))
    if command != Command.CONNECT:
        raise SocksError(Reply.NO_COMMAND, "only CONNECT and UDP ASSOCIATE")
    return Request(Command.CONNECT, Target(_literal(address), port, tag))


async def _read_user(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
    """Agree on how a client says who it is, and let it: the tag, None without one."""
    (many,) = await reader.readexactly(1)
    methods = await reader.readexactly(many)
    method = next((m for m in (LOGIN, NO_LOGIN) if m in methods), NO_METHOD)
    writer.write(bytes((VERSION, method)))
    if method == NO_METHOD:
        raise SocksError(None, "the client wants neither a user name nor none")
    if method == NO_LOGIN:
        return None
    version, length = await reader.readexactly(2)
    user = await reader.readexactly(length)
    (length,) = await reader.readexactly(1)
    await reader.readexactly(length)
    if version != LOGIN_VERSION:
        raise SocksError(None, f"a user name of version {version}")
    writer.write(bytes((LOGIN_VERSION, 0)))
    return user.decode(errors="backslashreplace") or None


async def _read_address(reader: asyncio.StreamReader, kind: int) -> bytes:
    """An IPv4 address, or a name. Raises SocksError for what is neither."""
    if kind == IPV4:
        return str(IPv4Address(await reader.readexactly(4))).encode()
    if kind != NAME:
        raise SocksError(Reply.NO_ADDRESS_TYPE, "only IPv4 addresses and names that spell one")
    (length,) = await reader.readexactly(1)
    return await reader.readexactly(length)


def _literal(name: bytes) -> IPv4Address:
    """The address that a name spells. Raises SocksError."""
    try:
        return IPv4Address(name.decode("ascii"))
    except (AddressValueError, UnicodeDecodeError):
        raise SocksError(Reply.HOST_UNREACHABLE, "names are not resolved") from None


def answer(reply: Reply, address: IPv4Address = NOWHERE, port: int = 0) -> bytes:
    """How it went, and the address that the server uses for it."""
    return bytes((VERSION, reply, 0, IPV4)) + address.packed + struct.pack("!H", port)


def refusal(error: OSError | SocksError) -> bytes:
    """The answer when there is no tunnel; nothing, if none is possible."""
    if isinstance(error, SocksError):
        return b"" if error.reply is None else answer(error.reply)
    return answer(next(reply for kind, reply in _REPLIES if isinstance(error, kind)))


def wrap(source: tuple[str, int], payload: bytes) -> bytes:
    """A datagram as the client gets it (RFC 1928 section 7)."""
    address, port = source
    return bytes((0, 0, 0, IPV4)) + IPv4Address(address).packed + struct.pack("!H", port) + payload


def unwrap(datagram: bytes) -> tuple[tuple[str, int], bytes] | None:
    """Where a client's datagram shall go, and what; None for fragments and all but IPv4."""
    if len(datagram) < 10 or datagram[2] != 0 or datagram[3] != IPV4:
        return None
    (port,) = struct.unpack_from("!H", datagram, 8)
    return (str(IPv4Address(datagram[4:8])), port), datagram[10:]
