"""How a lease store lies in etcd: keys below its prefix, values, and what a commit changes of them.

::

    head                         version, newest commit, last record, last lending
    log/RECORD                   the records of one commit, compressed; RECORD is the last of them
    setting/RECORD               an event that changed the world and is about no lease
    entry/ADDRESS/PORT           a port set that is not free, by its first port
    lending/ADDRESS/PORT/AGE     who might use it since when; later lendings have a smaller AGE
"""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from controller.core import events
from controller.core.events import Event, LeaseChanged
from controller.core.lease import PORT_BITS, Lease, LeaseState
from controller.store.interface import Lending, Record

SCHEME = "etcd://"
"""How the address of such a store begins."""

HEAD, LOG, SETTINGS, ENTRIES = "head", "log/", "setting/", "entry/"

VERSION = 1

Place = tuple[IPv4Address, int]
"""Address and first port."""

_LATEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Head:
    """Where a store stands; ``commit`` names the newest commit."""

    version: int = VERSION
    commit: str = ""
    last: int = 0
    lendings: int = 0

    def dump(self) -> bytes:
        """The value of its key."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def parse(cls, value: bytes) -> Head:
        """What ``dump`` gave, of this version or another. Raises ValueError, TypeError."""
        data = json.loads(value)
        if isinstance(data, dict) and data.get("version", VERSION) != VERSION:
            return cls(data["version"])
        return cls(**data)


class Draft:
    """One commit: keys with their values before and after it, None where there is none.

    Raises ValueError if a record is not the next of the log.
    """

    def __init__(
        self, head: Head, entries: Mapping[Place, Lease], records: Sequence[Record]
    ) -> None:
        self.before: dict[str, bytes | None] = {}
        self.after: dict[str, bytes | None] = {}
        self.entries: dict[Place, Lease] = {}
        """Those that change, free ones too."""
        self._stored, self._lendings = entries, head.lendings
        for number, record in enumerate(records, head.last + 1):
            if record.number != number:
                raise ValueError(f"record {record.number} comes where {number} is the next")
            if isinstance(record.event, LeaseChanged):
                self._put(record.event.lease, record.at_ns)
            elif isinstance(record.event, Event):
                self._change(numbered(SETTINGS, number), None, _dump(record.event))
        last = head.last + len(records)
        if records:
            self._change(numbered(LOG, last), None, _log(records))
        self.head = replace(head, commit=secrets.token_hex(8), last=last, lendings=self._lendings)
        self._change(HEAD, head.dump(), self.head.dump())

    def _put(self, lease: Lease, at_ns: int) -> None:
        """Keep an entry, and what it says of lendings: one begins, or the one before has ended."""
        before = self.entries.get(lease.key) or self._stored.get(lease.key)
        free = lease.state is LeaseState.FREE
        row = None if before is None else _row(before)
        self._change(_place(ENTRIES, lease), row, None if free else _row(lease))
        self.entries[lease.key] = lease
        held = before if before is not None and before.live else None
        if lease.live and held is not None and held.number == lease.number:
            return
        if held is not None:
            ended_ns = lease.since_ns if lease.live else at_ns
            self._change(_lent(held), _lending(held), _lending(held, ended_ns))
        if lease.live:
            self._change(_lent(lease), None, _lending(lease))
            self._lendings = max(self._lendings, lease.number)

    def _change(self, key: str, before: bytes | None, after: bytes | None) -> None:
        self.before.setdefault(key, before)
        self.after[key] = after


# -- keys


def numbered(kind: str, number: int) -> str:
    """The key of a record's kind."""
    return f"{kind}{number:020}"


def lendings_of(address: IPv4Address, port: int, at_ns: int) -> Iterator[tuple[str, str]]:
    """For each place where a set with that port can begin: the keys from its newest lending of
    that time to its oldest, as a range's begin and end.
    """
    for first in sorted({port >> bits << bits for bits in range(PORT_BITS + 1)}):
        place = _at(address, first)
        yield f"lending/{place}/{_LATEST - at_ns:016x}", f"lending/{place}0"


def _at(address: IPv4Address, first_port: int) -> str:
    return f"{int(address):08x}/{first_port:04x}"


def _place(kind: str, lease: Lease) -> str:
    return f"{kind}{_at(*lease.key)}"


def _lent(lease: Lease) -> str:
    """Two lendings of one time differ by their numbers."""
    age = f"{_LATEST - lease.since_ns:016x}{_LATEST - lease.number:016x}"
    return f"{_place('lending/', lease)}/{age}"


# -- values; those that parse raise ValueError, TypeError, KeyError or zlib.error


def parse_entry(value: bytes) -> Lease:
    """A port set that is not free."""
    address, psid, bits, state, *rest = json.loads(value)
    return Lease(IPv4Address(address), psid, bits, LeaseState(state), *rest)


def parse_lending(value: bytes) -> Lending:
    """Who might use a port set."""
    number, address, *rest = json.loads(value)
    return Lending(number, IPv4Address(address), *rest)


def parse_event(value: bytes) -> Any:
    """An event that changed the world."""
    return events.parse(json.loads(value))


def parse_log(value: bytes) -> tuple[Record, ...]:
    """The records of one commit."""
    lines = json.loads(zlib.decompress(value))
    return tuple(Record(number, at, boot, events.parse(x)) for number, at, boot, x in lines)


def _row(lease: Lease) -> bytes:
    address, *rest = lease
    return json.dumps([str(address), *rest]).encode()


def _lending(lease: Lease, ended_ns: int | None = None) -> bytes:
    ports = (str(lease.address), lease.first_port, lease.last_port)
    whose = (lease.server, lease.pop, lease.tag, lease.client_id)
    return json.dumps([lease.number, *ports, *whose, lease.since_ns, ended_ns]).encode()


def _dump(event: Event) -> bytes:
    return json.dumps(events.dump(event)).encode()


def _log(records: Sequence[Record]) -> bytes:
    lines = [[x.number, x.at_ns, x.monotonic_ns, events.dump(x.event)] for x in records]
    return zlib.compress(json.dumps(lines).encode())
