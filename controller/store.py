"""Durable leases: what the book says survives a crash at any instruction.

One writer, one row for each port set ever lent. ``commit`` returns when the rows are on the disk
(SQLite in WAL mode with ``synchronous=FULL``: one fsync for a commit), so whatever was answered
to a borrower is still known after kill -9 or power loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from controller.core.lending import Lease, LeaseState

__all__ = ["LeaseStore", "SqliteStore", "StoreError"]

SCHEMA_VERSION = 1

_SCHEMA = """
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


class StoreError(Exception):
    """The store cannot be used; the message says why and what mends it."""


class LeaseStore(Protocol):
    """Where leases are kept."""

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and PSID."""
        ...

    def commit(self, entries: Iterable[Lease]) -> None:
        """Keep these entries, all or none; returns only when that is durable."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class SqliteStore:
    """A lease store in one SQLite file (and its ``-wal`` and ``-shm`` companions).

    Raises StoreError if the file is no lease store, was made by another version, or has another
    writer: a second controller on one store would lend the same ports again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._open()
        except sqlite3.OperationalError as error:
            cause = "another controller holds it" if "locked" in str(error) else str(error)
            raise StoreError(f"lease store {path}: {cause}; give --db a file of its own") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"lease store {path}: {error}; give --db another file") from error

    def _open(self) -> None:
        # The lock of this mode is never given back: one writer for as long as the process lives.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")
        if version not in (0, SCHEMA_VERSION):
            self._db.close()
            raise StoreError(
                f"lease store {self._path}: made by version {version}, this is "
                f"{SCHEMA_VERSION}; give --db another file"
            )

    def load(self) -> tuple[Lease, ...]:
        """Every entry, by address and PSID."""
        rows = self._db.execute("SELECT * FROM entries ORDER BY address, psid")
        return tuple(
            Lease(IPv4Address(address), psid, bits, LeaseState(state), *rest)
            for address, psid, bits, state, *rest in rows
        )

    def commit(self, entries: Iterable[Lease]) -> None:
        """Keep these entries, all or none; returns only when that is durable."""
        rows = [
            (int(address), psid, bits, str(state), *rest)
            for address, psid, bits, state, *rest in map(astuple, entries)
        ]
        if not rows:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            statement = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the file; the last commit stays."""
        self._db.close()
