"""What every lease store does: the durable leases of a controller, and its log of events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

from controller.core.events import Event, Note
from controller.core.lease import Lease

__all__ = ["Lending", "Record", "Store", "StoreError"]


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


class StoreError(Exception):
    """The store cannot be used; the message says why and what mends it."""


class Store(Protocol):
    """Where leases and events are kept."""

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

        Returns only when that is durable.
        """
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...
