"""Durable leases and the log of events: what was said survives a crash at any instruction.

One writer; one row for each port set that is not free, for each lending that ever was, and for
each event. ``commit`` returns when the rows are on the disk (SQLite in WAL mode with
``synchronous=FULL``: one fsync for a commit), so whatever was answered to a borrower is still known
after kill -9 or power loss. An event and what it changes are there together or not at all.

A file beside it, ``.mark``, says which store it is and how many commits it has seen. A store that
knows of fewer has lost some: its ``-wal`` file was removed, or an older copy put back, or it was
emptied. The switches may then serve leases that it does not know, so it is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from controller.core import events
from controller.core.events import Event, LeaseChanged
from controller.core.lease import Lease, LeaseState, values
from controller.store.interface import Lending, Record, StoreError

__all__ = ["SqliteStore"]

SCHEMA_VERSION = 4

_MARK = "CREATE TABLE mark (store TEXT NOT NULL, commits INTEGER NOT NULL)"
_ENTRIES = """
CREATE TABLE entries (
    first_port INTEGER NOT NULL,
    address INTEGER NOT NULL,
    psid INTEGER NOT NULL,
    psid_bits INTEGER NOT NULL,
    state TEXT NOT NULL,
    server TEXT NOT NULL,
    pop TEXT NOT NULL,
    home TEXT NOT NULL,
    tag TEXT NOT NULL,
    client_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    heir TEXT NOT NULL,
    heir_pop TEXT NOT NULL,
    PRIMARY KEY (address, first_port)
) WITHOUT ROWID
"""
_LENDINGS = """
CREATE TABLE lendings (
    number INTEGER PRIMARY KEY,
    address INTEGER NOT NULL,
    first_port INTEGER NOT NULL,
    last_port INTEGER NOT NULL,
    server TEXT NOT NULL,
    pop TEXT NOT NULL,
    tag TEXT NOT NULL,
    client_id TEXT NOT NULL,
    since_ns INTEGER NOT NULL,
    ended_ns INTEGER
)
"""
_INDEX = "CREATE INDEX lendings_by_port ON lendings (address, first_port, since_ns)"
_EVENTS = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    event TEXT NOT NULL
)
"""
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
    """A lease store in one SQLite file (and its ``-wal``, ``-shm`` and ``.mark`` companions).

    Raises StoreError if the file is no lease store, was made by another version, has lost commits,
    or has another writer: a second controller on one store would lend the same ports again. Every
    other method raises it too, when the disk is full or broken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with _explained(path):
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._open()
            self._mark = _Mark(path)
            self._check_mark()

    def _open(self) -> None:
        # The lock of this mode is never given back: one writer for as long as the process lives.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        self._fresh = version == 0
        if self._fresh:
            self._db.execute(_ENTRIES)
            self._db.execute(_LENDINGS)
            self._db.execute(_INDEX)
            self._db.execute(_EVENTS)
            self._db.execute(_MARK)
            self._db.execute("INSERT INTO mark VALUES (?, 0)", (secrets.token_hex(8),))
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")
        if version not in (0, SCHEMA_VERSION):
            self._db.close()
            raise StoreError(
                f"lease store {self._path}: made by version {version}, this is "
                f"{SCHEMA_VERSION}; give --db another file"
            )

    def _check_mark(self) -> None:
        known = self._mark.read()
        store, commits = self._now()
        if known is not None and (known[0] != store or known[1] > commits):
            self._db.close()
            if self._fresh:  # it was made this very moment, in place of the one that is gone
                self._path.unlink(missing_ok=True)
            raise StoreError(
                f"lease store {self._path}: {known[1]} commits were made, and it knows of "
                f"{commits}; switches may serve leases that it lost. Put the file back with its "
                f"-wal, or remove {self._path}* to begin with an empty book"
            )
        self._mark.write(store, commits)

    def _now(self) -> tuple[str, int]:
        """Which store this is, and how many commits it has seen."""
        store, commits = self._db.execute("SELECT store, commits FROM mark").fetchone()
        return str(store), int(commits)

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and port."""
        with _explained(self._path):
            return tuple(
                Lease(IPv4Address(address), psid, bits, LeaseState(state), *rest)
                for _, address, psid, bits, state, *rest in self._db.execute(
                    "SELECT * FROM entries ORDER BY address, first_port"
                )
            )

    def lendings(self) -> int:
        """The number of the last lending, 0 before the first."""
        with _explained(self._path):
            (last,) = self._db.execute("SELECT max(number) FROM lendings").fetchone()
            return last or 0

    def who(self, address: IPv4Address, port: int, at_ns: int) -> Lending | None:
        """Who might use a port of an address at that time of the book's clock."""
        asked = {"address": int(address), "port": port, "at_ns": at_ns}
        with _explained(self._path):
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
        with _explained(self._path):
            return tuple(
                Record(number, at_ns, monotonic_ns, events.parse(json.loads(event)))
                for number, at_ns, monotonic_ns, event in self._db.execute(words, values)
            )

    def commit(self, records: Iterable[Record]) -> None:
        """Keep these records, and the entries of those that are about leases, all or none.

        Returns only when that is durable.
        """
        records = tuple(records)
        with _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for record in records:
                    if isinstance(record.event, LeaseChanged):
                        self._put(record.event.lease, record.at_ns)
                self._db.executemany(_PUT_EVENT, map(_line, records))
                self._db.execute("UPDATE mark SET commits = commits + 1")
                mark = self._now()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        with contextlib.suppress(OSError):  # an old mark is true as well, only less telling
            self._mark.write(*mark)

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
        """Let go of the file; the last commit stays."""
        self._db.close()
        self._mark.close()


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


class _Mark:
    """How many commits a store has seen, in a file beside it.

    It is written after each commit and not waited for, so it may be behind, never ahead.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(f"{path}.mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def read(self) -> tuple[str, int] | None:
        """Store and commits; None if it is new. Raises ValueError if it is damaged."""
        words = os.pread(self._file, 64, 0).decode().split()
        if not words:
            return None
        store, commits = words
        return store, int(commits)

    def write(self, store: str, commits: int) -> None:
        """Always of one length, so that no end of an older one stays."""
        os.pwrite(self._file, f"{store:16} {commits:20}\n".encode(), 0)

    def close(self) -> None:
        os.close(self._file)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Makes a StoreError of whatever goes wrong with a store inside of it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        cause = "another controller holds it" if "locked" in str(error) else str(error)
        mend = "give --db a file of its own, where there is space"
        raise StoreError(f"lease store {path}: {cause}; {mend}") from error
    except (sqlite3.DatabaseError, ValueError, TypeError, OSError) as error:
        raise StoreError(f"lease store {path}: {error}; give --db another file") from error
