"""Connections that are held open over a change: which of them still work, and who answers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal, Self

from experiments.measure.dial import Outcome, dial, failure, paced
from experiments.measure.exchange import ask
from experiments.measure.http import parse_fields
from topologies.family import Address

HeldOutcome = Outcome | Literal["bad answer"]

_AT_ONCE = 256
_SPACING_S = 0.001
_HTTP = 80


PORTS, OTHER_PORTS = (46_000, 60_999), (32_768, 45_999)
"""Where connections that are held come from, and what is left for others beside them: a port that
another connection has just left may linger at a server (TIME_WAIT), which takes it for its own."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One exchange on one connection, by its place among them.

    ``port`` is the host's own, None if it got none. ``outcome`` is ``ok`` for a whole answer;
    ``fields`` are its key=value lines, ``rtt_ns`` is from sending the request to the end of the
    answer. A connection that has failed once is broken: it is not asked again, and keeps its
    outcome, until it is opened again.
    """

    connection: int
    host: str
    outcome: HeldOutcome
    port: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    rtt_ns: int | None = None


class Held:
    """TCP connections to an HTTP service, one for each name in ``hosts``, until closed.

    A context manager. Raises FileNotFoundError for a host that does not exist.
    """

    def __init__(self, hosts: Sequence[str], destination: Address, *, timeout_s: float) -> None:
        """Connect; who cannot is broken from the beginning."""
        self._target = (destination, _HTTP)
        self._timeout_s = timeout_s
        self._sockets: list[socket.socket | None] = [None] * len(hosts)
        self._rows = [HeldRow(index, host, "timeout") for index, host in enumerate(hosts)]
        asyncio.run(self._each(self._rows, self._connect))

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
        whole = [row for row in self._rows if row.outcome == "ok"]
        asyncio.run(self._each(whole, self._exchange, spacing_s))
        return list(self._rows)

    def reopen(self) -> list[HeldRow]:
        """Connect again, and ask once, in place of every connection that is broken; all rows."""
        broken = [row for row in self._rows if row.outcome != "ok"]
        asyncio.run(self._each(broken, self._begin_again))
        return list(self._rows)

    async def _each(
        self,
        rows: Sequence[HeldRow],
        act: Callable[[HeldRow], Awaitable[None]],
        spacing_s: float = _SPACING_S,
    ) -> None:
        async def one(_turn: int, row: HeldRow) -> None:
            await act(row)

        await paced(rows, one, at_once=_AT_ONCE, spacing_s=spacing_s)

    async def _begin_again(self, row: HeldRow) -> None:
        sock = self._sockets[row.connection]
        if sock is not None:
            sock.close()
        await self._connect(row)
        await self._exchange(self._rows[row.connection])

    async def _connect(self, row: HeldRow) -> None:
        found = await dial(
            row.host, self._target, source=None, ports=PORTS, timeout_s=self._timeout_s
        )
        port = found.local[1] if found.local else None
        self._sockets[row.connection] = found.sock
        self._rows[row.connection] = HeldRow(row.connection, row.host, found.outcome, port)

    async def _exchange(self, row: HeldRow) -> None:
        sock = self._sockets[row.connection]
        if sock is not None:
            self._rows[row.connection] = await _exchanged(row, sock, self._timeout_s)


async def _exchanged(row: HeldRow, sock: socket.socket, timeout_s: float) -> HeldRow:
    start = time.monotonic_ns()
    try:
        async with asyncio.timeout(timeout_s):
            body = await ask(sock)
    except ValueError:
        return replace(row, outcome="bad answer", fields={}, rtt_ns=None)
    except OSError as error:
        return replace(row, outcome=failure(error), fields={}, rtt_ns=None)
    rtt_ns = time.monotonic_ns() - start
    return replace(row, outcome="ok", fields=parse_fields(body), rtt_ns=rtt_ns)
