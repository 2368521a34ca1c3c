"""Durable leases: what the book says survives a crash at any instruction.

One writer, one row for each port set ever lent. ``commit`` returns when the rows are on the disk
(SQLite in WAL mode with ``synchronous=FULL``: one fsync for a commit), so whatever was answered
to a borrower is still known after kill -9 or power loss.

A file beside it, ``.mark``, says which store it is and how many commits it has seen. A store that
knows of fewer has lost some: its ``-wal`` file was removed, or an older copy put back, or it was
emptied. The switches may then serve leases that it does not know, so it is refused.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple
from ipaddress import IPv4Address
from pathlib import Path
from typing import Protocol

from controller.core.lending import Lease, LeaseState

__all__ = ["LeaseStore", "SqliteStore", "StoreError"]

SCHEMA_VERSION = 2

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

    def commit(self, entries: Iterable[Lease]) -> None:
        """Keep these entries, all or none; returns only when that is durable."""
        rows = [
            (int(address), psid, bits, str(state), *rest)
            for address, psid, bits, state, *rest in map(astuple, entries)
        ]
        if not rows:
            return
        with _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                statement = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                self._db.executemany(statement, rows)
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
