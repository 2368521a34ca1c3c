"""What every lease store does: the durable leases of a controller, and its log of events.

Controllers that share a store settle in it who of them leads. Who leads has the `Store`, the others
have an `Election`. Every reign has a *generation*, a number that only grows: a store keeps nothing
for a leader of an older one, and switches follow none (OpenFlow 1.3.5 section 6.3.6).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

from controller.core.events import Event, Note
from controller.core.lease import Lease

__all__ = [
    "Candidate",
    "Deposed",
    "DeposedError",
    "Election",
    "Leader",
    "Lending",
    "Record",
    "Store",
    "StoreError",
]


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log. ``number`` counts from 1 without gaps.

    ``at_ns`` is the book's clock (nanoseconds since the epoch, never backwards), ``monotonic_ns``
    the kernel's monotonic clock, comparable within one boot.
    """

    number: int
    at_ns: int
    monotonic_ns: int
    event: Event | Note


@dataclass(frozen=True, slots=True)
class Lending:
    """Who might use which ports, from when, and until when; None for a lending that goes on."""

    number: int
    address: IPv4Address
    first_port: int
    last_port: int
    server: str
    pop: str
    tag: str
    client_id: str
    since_ns: int
    ended_ns: int | None

    def describe(self) -> dict[str, Any]:
        """The whole of it, for JSON."""
        return asdict(self) | {"address": str(self.address)}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A controller that may lead: its name, and where it answers over HTTP (``HOST:PORT``)."""

    name: str
    at: str


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads a store, and in which generation."""

    name: str
    at: str
    generation: int

    @classmethod
    def next(cls, candidate: Candidate, last: Leader | None) -> Leader:
        """The one after ``last``.

        Generations begin with the seconds of the wall clock, not with 1, so that those of a store
        that was made anew are not older than what switches remember of the one before it.
        """
        known = 0 if last is None else last.generation
        return cls(candidate.name, candidate.at, max(int(time.time()), known + 1))


class StoreError(Exception):
    """The store cannot be used; the message says why and what mends it."""


class DeposedError(StoreError):
    """Another controller leads by now, so nothing was kept."""


Deposed = Callable[[], None]
"""Called, in any thread, when a leader turns out to be none any more."""


class Election(Protocol):
    """Where a candidate waits to lead. Every method but ``close`` raises StoreError."""

    def leader(self) -> Leader | None:
        """Who leads, or led last; None before the first."""
        ...

    def campaign(self, deposed: Deposed) -> Store | None:
        """The store, if nobody leads it: who did is gone, or gave no sign of life for a term.

        From then on the candidate leads, until it closes the store or stands still for so long
        that another takes over.
        """
        ...

    def close(self) -> None:
        """Stand no longer; who leads goes on to."""
        ...


class Store(Protocol):
    """Where leases and events are kept; ``leader`` is who may write, its holder."""

    leader: Leader

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and port."""
        ...

    def lendings(self) -> int:
        """The number of the last lending, 0 before the first."""
        ...

    def who(self, address: IPv4Address, port: int, at_ns: int) -> Lending | None:
        """Who might use a port of an address at that time of the book's clock."""
        ...

    def records(self, after: int = 0) -> tuple[Record, ...]:
        """The log, from the record after this number on."""
        ...

    def settings(self) -> tuple[Event, ...]:
        """The events of the log that changed the world and are about no lease, in order."""
        ...

    def last(self) -> Record | None:
        """The newest record."""
        ...

    def commit(self, records: Iterable[Record]) -> None:
        """Keep these records, and the entries of those that are about leases, all or none.

        Returns only when that is durable. Raises DeposedError when another leads.
        """
        ...

    def close(self) -> None:
        """Let go of the store, so that another can lead at once."""
        ...
