"""Durable leases and the log of events: what was said survives a crash at any instruction.

One writer, one row for each port set ever lent, one for each event. ``commit`` returns when the
rows are on the disk (SQLite in WAL mode with ``synchronous=FULL``: one fsync for a commit), so
whatever was answered to a borrower is still known after kill -9 or power loss. An event and the
entry that it changes are there together or not at all.

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
from dataclasses import astuple, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from controller.core import events
from controller.core.events import Event, LeaseChanged, Note
from controller.core.lending import Lease, LeaseState

__all__ = ["Record", "SqliteStore", "Store", "StoreError"]

SCHEMA_VERSION = 3

_MARK = "CREATE TABLE mark (store TEXT NOT NULL, commits INTEGER NOT NULL)"
_ENTRIES = """
CREATE TABLE entries (
    address INTEGER NOT NULL,
    psid INTEGER NOT NULL,
    psid_bits INTEGER NOT NULL,
    state TEXT NOT NULL,
    server TEXT NOT NULL,
    pop TEXT NOT NULL,
    tag TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    since_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    PRIMARY KEY (address, psid)
) WITHOUT ROWID
"""
_EVENTS = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    event TEXT NOT NULL
)
"""
_PUT_ENTRY = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"


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


class StoreError(Exception):
    """The store cannot be used; the message says why and what mends it."""


class Store(Protocol):
    """Where leases and events are kept."""

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and PSID."""
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
        """Every entry, by address and PSID."""
        with _explained(self._path):
            return tuple(
                Lease(IPv4Address(address), psid, bits, LeaseState(state), *rest)
                for address, psid, bits, state, *rest in self._db.execute(
                    "SELECT * FROM entries ORDER BY address, psid"
                )
            )

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
        leases = [x.event.lease for x in records if isinstance(x.event, LeaseChanged)]
        with _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(_PUT_ENTRY, map(_row, leases))
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

    def close(self) -> None:
        """Let go of the file; the last commit stays."""
        self._db.close()
        self._mark.close()


def _row(lease: Lease) -> tuple[int | str, ...]:
    address, psid, bits, state, *rest = astuple(lease)
    return (int(address), psid, bits, str(state), *rest)


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
