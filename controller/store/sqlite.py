"""Durable leases and the log of events: what was said survives a crash at any instruction.

One writer, the leader; one row for each port set that is not free, for each lending that ever was,
and for each event. ``commit`` returns when the rows are on the disk (SQLite in WAL mode with
``synchronous=FULL``: one fsync for a commit), so whatever was answered to a borrower is still known
after kill -9 or power loss. An event and what it changes are there together or not at all.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from controller.core import events
from controller.core.events import Event, LeaseChanged, Note
from controller.core.lease import Lease, LeaseState
from controller.store.hold import Hold
from controller.store.interface import Deposed, DeposedError, Leader, Lending, Record
from controller.store.sqlite_file import Mark, connect, explained
from controller.store.sqlite_leader import TERM_S, Term, read_leader

__all__ = ["SqliteStore"]

_PUT_ENTRY = f"INSERT OR REPLACE INTO entries VALUES ({', '.join('?' * 15)})"
_DROP_ENTRY = "DELETE FROM entries WHERE address = ? AND first_port = ?"
_BEGIN = "INSERT INTO lendings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_END = "UPDATE lendings SET ended_ns = ? WHERE number = ? AND ended_ns IS NULL"
_SUCCEED = """
UPDATE lendings SET ended_ns = ?
WHERE ended_ns IS NULL
    AND number = (SELECT number FROM entries WHERE address = ? AND first_port = ?)
"""
_WHO = """
SELECT number, address, first_port, last_port, server, pop, tag, client_id, since_ns, ended_ns
FROM lendings
WHERE address = :address AND first_port <= :port AND last_port >= :port
    AND since_ns <= :at_ns AND (ended_ns IS NULL OR ended_ns > :at_ns)
"""
_PUT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"


class SqliteStore:
    """The leases in one SQLite file (and its ``-wal``, ``-shm`` and ``.mark`` companions).

    `SqliteElection.campaign` makes it. Every method raises StoreError when the disk is full or
    broken.
    """

    def __init__(self, path: Path, leader: Leader, mark: Mark, deposed: Deposed) -> None:
        self.leader = leader
        self._path, self._mark = path, mark
        with contextlib.ExitStack() as opened, explained(path):
            opened.callback(mark.close)
            self._db = opened.enter_context(contextlib.closing(connect(path)))
            term = opened.enter_context(contextlib.closing(Term(path, leader)))
            opened.enter_context(Hold(term.renew, TERM_S, deposed))
            self._opened = opened.pop_all()
        self._lendings = self.lendings()

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and port."""
        with explained(self._path):
            rows = self._db.execute("SELECT * FROM entries ORDER BY address, first_port")
            return tuple(_lease(*row) for _, *row in rows)

    def lendings(self) -> int:
        """The number of the last lending, 0 before the first."""
        with explained(self._path):
            (last,) = self._db.execute("SELECT max(number) FROM lendings").fetchone()
            return last or 0

    def who(self, address: IPv4Address, port: int, at_ns: int) -> Lending | None:
        """Who might use a port of an address at that time of the book's clock."""
        asked = {"address": int(address), "port": port, "at_ns": at_ns}
        with explained(self._path):
            found = self._db.execute(_WHO, asked).fetchone()
        return found and Lending(found[0], IPv4Address(found[1]), *found[2:])

    def records(self, after: int = 0) -> tuple[Record, ...]:
        """The log, from the record after this number on."""
        return self._read("WHERE number > ? ORDER BY number", after)

    def settings(self) -> tuple[Event, ...]:
        """The events of the log that changed the world and are about no lease, in order."""
        found = self._read("WHERE kind <> ? ORDER BY number", LeaseChanged.__name__)
        return tuple(record.event for record in found if isinstance(record.event, Event))

    def last(self) -> Record | None:
        """The newest record."""
        return next(iter(self._read("ORDER BY number DESC LIMIT 1")), None)

    def _read(self, which: str, *values: int | str) -> tuple[Record, ...]:
        words = f"SELECT number, at_ns, monotonic_ns, kind, event FROM events {which}"
        with explained(self._path):
            return tuple(
                Record(number, at_ns, monotonic_ns, _event(kind, json.loads(text)))
                for number, at_ns, monotonic_ns, kind, text in self._db.execute(words, values)
            )

    def commit(self, records: Iterable[Record]) -> None:
        """Keep these records, and the entries of those that are about leases, all or none.

        Returns only when that is durable. Raises DeposedError when another leads.
        """
        records = tuple(records)
        with explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check_reign()
                changes = _Changes(self._lendings)
                for record in records:
                    if isinstance(record.event, LeaseChanged):
                        changes.add(record.event.lease, record.at_ns)
                changes.write(self._db)
                self._db.executemany(_PUT_EVENT, map(_line, records))
                self._db.execute("UPDATE mark SET commits = commits + 1")
                mark = self._db.execute("SELECT store, commits FROM mark").fetchone()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._lendings = changes.lendings
        with contextlib.suppress(OSError):  # an old mark is true as well, only less telling
            self._mark.write(*mark)

    def _check_reign(self) -> None:
        """Raise DeposedError if another leads."""
        leader = read_leader(self._db)
        if leader != self.leader:
            name = "nobody" if leader is None else leader.name
            raise DeposedError(f"lease store {self._path}: {name} leads by now")

    def close(self) -> None:
        """Let go of the file, so that another can lead at once; the last commit stays."""
        self._opened.close()


class _Changes:
    """What one commit changes of entries and lendings, so that each row is written once.

    ``lendings`` is the number of the last lending that is known.
    """

    def __init__(self, lendings: int) -> None:
        self.lendings = lendings
        self._entries: dict[tuple[int, int], Lease] = {}
        self._begun: dict[int, Lease] = {}
        self._ended: dict[int, int] = {}  # when, by number
        self._succeeded: list[tuple[int, int, int]] = []  # when another got a set, and which

    def add(self, lease: Lease, at_ns: int) -> None:
        """One more entry, and what it says of lendings: one begins, or the one before has ended."""
        where = (int(lease.address), lease.first_port)
        before = self._entries.get(where)
        self._entries[where] = lease
        if not lease.live:
            self._ended.setdefault(lease.number, at_ns)
        elif lease.number > self.lendings:
            self.lendings = lease.number
            self._begun[lease.number] = lease
            if before is None:
                self._succeeded.append((lease.since_ns, *where))
            elif before.live:
                self._ended[before.number] = lease.since_ns

    def write(self, database: sqlite3.Connection) -> None:
        """Keep all of it. Raises sqlite3.Error."""
        begun = [_lending(one, self._ended.pop(n, None)) for n, one in self._begun.items()]
        free = [at for at, one in self._entries.items() if one.state is LeaseState.FREE]
        taken = [
            (one.first_port, *_row(one))
            for one in self._entries.values()
            if one.state is not LeaseState.FREE
        ]
        database.executemany(_SUCCEED, self._succeeded)
        database.executemany(_END, [(at_ns, n) for n, at_ns in self._ended.items()])
        database.executemany(_BEGIN, begun)
        database.executemany(_DROP_ENTRY, free)
        database.executemany(_PUT_ENTRY, taken)


def _row(lease: Lease) -> tuple[int | str, ...]:
    return (int(lease.address), lease.psid, lease.psid_bits, lease.state.value, *lease[4:])


def _lease(address: int, psid: int, psid_bits: int, state: str, *rest: Any) -> Lease:
    return Lease(IPv4Address(address), psid, psid_bits, LeaseState(state), *rest)


def _lending(lease: Lease, ended_ns: int | None) -> tuple[int | str | None, ...]:
    ports = (int(lease.address), lease.first_port, lease.last_port)
    whose = (lease.server, lease.pop, lease.tag, lease.client_id)
    return (lease.number, *ports, *whose, lease.since_ns, ended_ns)


def _line(record: Record) -> tuple[int | str, ...]:
    """Of leases, which are most of a log, the values alone."""
    kind, event = type(record.event).__name__, record.event
    data = _row(event.lease) if isinstance(event, LeaseChanged) else events.dump(event)
    return (record.number, record.at_ns, record.monotonic_ns, kind, json.dumps(data))


def _event(kind: str, data: Any) -> Event | Note:
    """What ``_line`` has put down."""
    return LeaseChanged(_lease(*data)) if kind == LeaseChanged.__name__ else events.parse(data)
