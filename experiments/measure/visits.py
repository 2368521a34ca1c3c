"""Visits: a host asks the DNS for a name, keeps the answer for a while, and fetches by HTTP.

Each host has a stub resolver with a cache, and connections by name as a browser has: what is open
is used without a question to the DNS. The schedule is open loop: a visit starts at its time,
whatever became of those before.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from types import TracebackType
from typing import Literal, Self

from experiments.measure.dial import Outcome, dial, failure
from experiments.measure.exchange import ask
from experiments.measure.http import parse_fields
from experiments.measure.kernel import handshake_rtt_ns, open_in
from topologies.emulation.endpoints.zone import PAYLOAD
from topologies.family import Address

__all__ = ["Change", "Keeping", "Place", "Visit", "VisitRow", "Visitors"]

Place = tuple[str, str]
"""A host and a name: each has its own cached answer and connection."""

Change = tuple[float, Callable[[], None]]
"""Something to do so many seconds after the start."""

VisitOutcome = Outcome | Literal["bad answer", "no name"]
"""``no name``: the DNS gave no address. ``bad answer``: not HTTP, or cut short."""

LEAD_S = 0.2
"""Before the first visit, so that all are scheduled by then."""

_HTTP, _DNS = 80, 53


@dataclass(frozen=True, slots=True)
class Visit:
    """Which host wants something of which name, seconds after the start."""

    host: str
    name: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long hosts keep an answer (at most its TTL), and a connection; 0: not at all."""

    ttl_s: float
    hold_s: float = 0.0


@dataclass(frozen=True, slots=True)
class VisitRow:
    """What came of a visit; ``sent_ns`` is when it knew an address, by the monotonic clock.

    ``asked`` says whether it asked the DNS, ``opened`` whether it opened a connection;
    ``rtt_ns`` is that connection's handshake by the kernel. ``fields`` are the key=value lines of
    what it got.
    """

    visit: Visit
    outcome: VisitOutcome
    asked: bool = False
    opened: bool = False
    address: Address | None = None
    sent_ns: int | None = None
    rtt_ns: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answer:
    address: Address
    ttl_s: float
    until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Connection:
    sock: socket.socket
    address: Address
    until_s: float


class Visitors:
    """Hosts with their caches and connections, who ask the name ``server``.

    A context manager: at its end connections are closed. Raises FileNotFoundError for a host that
    does not exist.
    """

    def __init__(self, server: Address, keeping: Keeping, *, timeout_s: float) -> None:
        """Nothing is asked yet; ``timeout_s`` is for each of question, connection and fetch."""
        self._server = server
        self._keeping = keeping
        self._timeout_s = timeout_s
        self._answers: dict[Place, _Answer] = {}
        self._connections: dict[Place, _Connection] = {}
        self._turns: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.began_ns = 0

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        for connection in self._connections.values():
            connection.sock.close()

    def visit(
        self, visits: Sequence[Visit], left_s: Mapping[Place, float], change: Change | None = None
    ) -> list[VisitRow]:
        """Make each visit at its time; the rows in their order.

        First the answers for the places of ``left_s`` are asked for, which are kept for so many
        seconds from the beginning, as if they had been cached for a while. A ``change`` is done
        meanwhile, in a thread of its own.
        """
        return asyncio.run(self._visit(visits, left_s, change))

    async def _visit(
        self, visits: Sequence[Visit], left_s: Mapping[Place, float], change: Change | None
    ) -> list[VisitRow]:
        known = await asyncio.gather(*(self._ask(place) for place in left_s))
        start_s = time.monotonic() + LEAD_S
        self.began_ns = int(start_s * 1e9)
        for (place, left), answer in zip(left_s.items(), known, strict=True):
            if answer is not None:
                self._answers[place] = replace(answer, until_s=start_s + left)

        async def one(visit: Visit) -> VisitRow:
            await asyncio.sleep(start_s + visit.at_s - time.monotonic())
            return await self._one(visit)

        async def act(change: Change) -> None:
            at_s, do = change
            await asyncio.sleep(start_s + at_s - time.monotonic())
            await asyncio.to_thread(do)

        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(one(visit)) for visit in visits]
            if change is not None:
                tasks.create_task(act(change))
        return [task.result() for task in made]

    async def _one(self, visit: Visit) -> VisitRow:
        """By a connection that is open, or by a new one."""
        place = (visit.host, visit.name)
        if self._keeping.hold_s:
            async with self._turns[place]:  # a connection takes one request after the other
                return await self._by_kept(visit, place)
        async with self._turns[place]:  # nobody asks while an answer is under way
            answer, asked = await self._answer(place)
        row = VisitRow(visit, "no name", asked, sent_ns=time.monotonic_ns())
        if answer is None:
            return row
        row, sock = await self._connect(row, answer.address)
        if sock is None:
            return row
        with sock:
            return await self._fetch(row, sock)

    async def _by_kept(self, visit: Visit, place: Place) -> VisitRow:
        kept = self._connections.get(place)
        if kept is not None and time.monotonic() < kept.until_s:
            row = VisitRow(visit, "ok", address=kept.address, sent_ns=time.monotonic_ns())
            row = await self._fetch(row, kept.sock)
        else:
            if kept is not None:
                kept.sock.close()
            row = await self._by_new(visit, place)
        if row.outcome != "ok" and (broken := self._connections.pop(place, None)):
            broken.sock.close()
        return row

    async def _by_new(self, visit: Visit, place: Place) -> VisitRow:
        self._connections.pop(place, None)
        answer, asked = await self._answer(place)
        row = VisitRow(visit, "no name", asked, sent_ns=time.monotonic_ns())
        if answer is None:
            return row
        until_s = time.monotonic() + self._keeping.hold_s
        row, sock = await self._connect(row, answer.address)
        if sock is None:
            return row
        self._connections[place] = _Connection(sock, answer.address, until_s)
        return await self._fetch(row, sock)

    async def _connect(
        self, row: VisitRow, address: Address
    ) -> tuple[VisitRow, socket.socket | None]:
        found = await dial(
            row.visit.host, (address, _HTTP), source=None, ports=None, timeout_s=self._timeout_s
        )
        row = replace(row, outcome=found.outcome, opened=True, address=address)
        if found.sock is not None:
            row = replace(row, rtt_ns=handshake_rtt_ns(found.sock))
        return row, found.sock

    async def _fetch(self, row: VisitRow, sock: socket.socket) -> VisitRow:
        last = not self._keeping.hold_s
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await ask(sock, row.visit.name, last=last)
        except ValueError:
            return replace(row, outcome="bad answer")
        except OSError as error:
            return replace(row, outcome=failure(error))
        return replace(row, outcome="ok", fields=parse_fields(body))

    async def _answer(self, place: Place) -> tuple[_Answer | None, bool]:
        """What is known of a name, and whether the DNS had to be asked."""
        kept = self._answers.get(place)
        if kept is not None and time.monotonic() < kept.until_s:
            return kept, False
        answer = await self._ask(place)
        if answer is None:
            return None, True
        answer = replace(answer, until_s=time.monotonic() + answer.ttl_s)
        self._answers[place] = answer
        return answer, True

    async def _ask(self, place: Place) -> _Answer | None:
        """Ask for the address of a name, by UDP; None if no answer has one."""
        import dns.exception
        import dns.message

        host, name = place
        kind = "A" if self._server.version == 4 else "AAAA"
        query = dns.message.make_query(name, kind, use_edns=0)
        loop = asyncio.get_running_loop()
        with open_in(host, socket.SOCK_DGRAM, family=self._server.version) as sock:
            try:
                sock.connect((str(self._server), _DNS))
                async with asyncio.timeout(self._timeout_s):
                    await loop.sock_sendall(sock, query.to_wire())
                    reply = dns.message.from_wire(await loop.sock_recv(sock, PAYLOAD))
            except (OSError, dns.exception.DNSException):
                return None
        if not query.is_response(reply) or not reply.answer:
            return None
        found = reply.answer[0]
        return _Answer(ip_address(str(found[0])), min(found.ttl, self._keeping.ttl_s))
