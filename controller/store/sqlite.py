"""Durable leases and the log of events: what was said survives a crash at any instruction.

One writer, the leader; one row for each port set that is not free, for each lending that ever was,
and for each event. ``commit`` returns when the rows are on the disk (SQLite in WAL mode with
``synchronous=FULL``: one fsync for a commit), so whatever was answered to a borrower is still known
after kill -9 or power loss. An event and what it changes are there together or not at all.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from controller.core import events
from controller.core.events import Event, LeaseChanged
from controller.core.lease import Lease, LeaseState, values
from controller.store.hold import Hold
from controller.store.interface import Deposed, DeposedError, Leader, Lending, Record
from controller.store.sqlite_file import Mark, connect, explained
from controller.store.sqlite_leader import TERM_S, Term, read_leader

__all__ = ["SqliteStore"]

_PUT_ENTRY = f"INSERT OR REPLACE INTO entries VALUES ({', '.join('?' * 15)})"
_DROP_ENTRY = "DELETE FROM entries WHERE address = ? AND first_port = ?"
_BEGIN = "INSERT OR IGNORE INTO lendings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
_END = """
UPDATE lendings SET ended_ns = ?
WHERE address = ? AND first_port = ? AND number <= ? AND ended_ns IS NULL
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

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and port."""
        with explained(self._path):
            return tuple(
                Lease(IPv4Address(address), psid, bits, LeaseState(state), *rest)
                for _, address, psid, bits, state, *rest in self._db.execute(
                    "SELECT * FROM entries ORDER BY address, first_port"
                )
            )

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
        words = f"SELECT number, at_ns, monotonic_ns, event FROM events {which}"
        with explained(self._path):
            return tuple(
                Record(number, at_ns, monotonic_ns, events.parse(json.loads(event)))
                for number, at_ns, monotonic_ns, event in self._db.execute(words, values)
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
                for record in records:
                    if isinstance(record.event, LeaseChanged):
                        self._put(record.event.lease, record.at_ns)
                self._db.executemany(_PUT_EVENT, map(_line, records))
                self._db.execute("UPDATE mark SET commits = commits + 1")
                mark = self._db.execute("SELECT store, commits FROM mark").fetchone()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        with contextlib.suppress(OSError):  # an old mark is true as well, only less telling
            self._mark.write(*mark)

    def _check_reign(self) -> None:
        """Raise DeposedError if another leads."""
        leader = read_leader(self._db)
        if leader != self.leader:
            name = "nobody" if leader is None else leader.name
            raise DeposedError(f"lease store {self._path}: {name} leads by now")

    def _put(self, lease: Lease, at_ns: int) -> None:
        """Keep an entry, and what it says of lendings: one begins, or those before have ended."""
        where = (int(lease.address), lease.first_port)
        if lease.state is LeaseState.FREE:
            self._db.execute(_DROP_ENTRY, where)
        else:
            self._db.execute(_PUT_ENTRY, (lease.first_port, *_row(lease)))
        begun = self._db.execute(_BEGIN, _lending(lease)).rowcount if lease.live else 0
        if begun or not lease.live:
            ended_ns = lease.since_ns if begun else at_ns
            self._db.execute(_END, (ended_ns, *where, lease.number - begun))

    def close(self) -> None:
        """Let go of the file, so that another can lead at once; the last commit stays."""
        self._opened.close()


def _row(lease: Lease) -> tuple[int | str, ...]:
    address, psid, bits, state, *rest = values(lease)
    return (int(address), psid, bits, str(state), *rest)


def _lending(lease: Lease) -> tuple[int | str, ...]:
    ports = (int(lease.address), lease.first_port, lease.last_port)
    whose = (lease.server, lease.pop, lease.tag, lease.client_id)
    return (lease.number, *ports, *whose, lease.since_ns)


def _line(record: Record) -> tuple[int | str, ...]:
    kind, text = type(record.event).__name__, json.dumps(events.dump(record.event))
    return (record.number, record.at_ns, record.monotonic_ns, kind, text)
