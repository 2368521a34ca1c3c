"""Connections that are held open over a change: which of them still work, and who answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from experiments.measure.dial import Outcome, dial, failure, paced
from experiments.measure.http import parse_fields, parse_head
from topologies.family import Address

HeldOutcome = Outcome | Literal["bad answer"]

_AT_ONCE = 256
_SPACING_S = 0.001
_HTTP = 80


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One exchange on one connection, by its place among them.

    ``outcome`` is ``ok`` for a whole answer; ``fields`` are its key=value lines. A connection that
    has failed once is broken: it is not asked again, and keeps its outcome.
    """

    connection: int
    host: str
    outcome: HeldOutcome
    fields: Mapping[str, str] = field(default_factory=dict)


class Held:
    """TCP connections to an HTTP service, one for each name in ``hosts``, until closed.

    A context manager. Raises FileNotFoundError for a host that does not exist.
    """

    def __init__(self, hosts: Sequence[str], destination: Address, *, timeout_s: float) -> None:
        """Connect; who cannot is broken from the beginning."""
        self._timeout_s = timeout_s
        self._sockets: list[socket.socket | None] = []
        self._rows: list[HeldRow] = []

        async def one(index: int, host: str) -> None:
            target = (destination, _HTTP)
            found = await dial(host, target, source=None, ports=None, timeout_s=timeout_s)
            self._sockets[index] = found.sock
            self._rows[index] = HeldRow(index, host, found.outcome)

        self._sockets = [None] * len(hosts)
        self._rows = [HeldRow(index, host, "timeout") for index, host in enumerate(hosts)]
        asyncio.run(paced(hosts, one, at_once=_AT_ONCE, spacing_s=_SPACING_S))

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close them all."""
        for sock in self._sockets:
            if sock is not None:
                sock.close()

    def ask(self, spacing_s: float = _SPACING_S) -> list[HeldRow]:
        """One GET on every connection; the rows in their order."""

        async def one(index: int, sock: socket.socket | None) -> None:
            before = self._rows[index]
            if sock is not None and before.outcome == "ok":
                self._rows[index] = await _exchange(before, sock, self._timeout_s)

        asyncio.run(paced(self._sockets, one, at_once=_AT_ONCE, spacing_s=spacing_s))
        return list(self._rows)


async def _exchange(row: HeldRow, sock: socket.socket, timeout_s: float) -> HeldRow:
    try:
        async with asyncio.timeout(timeout_s):
            body = await _get(sock)
    except ValueError:
        return HeldRow(row.connection, row.host, "bad answer")
    except OSError as error:
        return HeldRow(row.connection, row.host, failure(error))
    return HeldRow(row.connection, row.host, "ok", parse_fields(body))


async def _get(sock: socket.socket) -> bytes:
    """Ask who answers; the body. Raises ValueError for what is no answer, OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"GET /trace HTTP/1.1\r\nHost: service\r\n\r\n")
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            _, length = parse_head(head)
            if length is None:
                raise ValueError("the answer does not say how long it is")
            if len(body) >= length:
                return body
        piece = await loop.sock_recv(sock, 1 << 16)
        if not piece:
            raise ConnectionResetError
        data += piece
