"""The file of an SQLite store: its tables, the mark beside it, and what is said of its errors.

The file ``.mark`` says which store it is and how many commits it has seen. A store that knows of
fewer has lost some: its ``-wal`` file was removed, or an older copy put back, or it was emptied.
The switches may then serve leases that it does not know, so it is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

from controller.store.interface import StoreError
from controller.store.native import clock

__all__ = ["Mark", "connect", "explained", "open_database"]

SCHEMA_VERSION = 6

_MARK = "CREATE TABLE mark (store TEXT NOT NULL, commits INTEGER NOT NULL)"
_LEADER = """
CREATE TABLE leader (
    name TEXT NOT NULL,
    at TEXT NOT NULL,
    generation INTEGER NOT NULL,
    until_ns INTEGER NOT NULL
)
"""
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
BUSY_S = 1.0
"""How long it is waited for another's write to end."""


def connect(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """A connection for one thread after the other.

    What is committed is on the disk; if not ``durable``, a little later. Raises sqlite3.Error.
    """
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    _keep_a_log(database)
    database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    return database


def _keep_a_log(database: sqlite3.Connection) -> None:
    """Write ahead, in the file ``-wal``.

    Of several that make a store at once, SQLite refuses all but one without waiting for it (they
    might wait for each other). Raises sqlite3.Error.
    """
    patience = clock.monotonic() + BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if clock.monotonic() > patience:
                raise
            clock.sleep(0.001)


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection to a store, and whether it was made just now. Raises StoreError."""
    with explained(path):
        database = connect(path)
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for table in (_ENTRIES, _LENDINGS, _INDEX, _EVENTS, _LEADER, _MARK):
                database.execute(table)
            database.execute("INSERT INTO mark VALUES (?, 0)", (secrets.token_hex(8),))
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")
    if version not in (0, SCHEMA_VERSION):
        database.close()
        raise StoreError(
            f"lease store {path}: made by version {version}, this is "
            f"{SCHEMA_VERSION}; give --db another file"
        )
    return database, version == 0


class Mark:
    """The file beside a store: how many commits it has seen, and who of its leaders live.

    The count is written after each commit and not waited for, so it may be behind, never ahead.

    The leader of a generation holds a lock on the byte of that number. The kernel takes it away
    with the last file descriptor, so with the process (open file description locks, fcntl(2)).
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

    def lock(self, generation: int) -> None:
        """Show that the leader of a generation lives, until ``close``. Raises OSError."""
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock(fcntl.F_WRLCK, generation))

    def is_locked(self, generation: int) -> bool:
        """Whether the leader of a generation lives; not for who has locked it."""
        found = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, generation))
        return bool(_LOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        """Let go of file and lock."""
        os.close(self._file)


_LOCK = struct.Struct("hhqqi0q")
"""``struct flock``: type, whence, start, length, process."""


def _lock(kind: int, byte: int) -> bytes:
    return _LOCK.pack(kind, os.SEEK_SET, byte, 1, 0)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Makes a StoreError of whatever goes wrong with a store inside of it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        locked = "locked" in str(error)
        cause = "another program is in the middle of a write" if locked else str(error)
        mend = "give --db a file of its own, where there is space"
        raise StoreError(f"lease store {path}: {cause}; {mend}") from error
    except (sqlite3.DatabaseError, ValueError, TypeError, OSError) as error:
        raise StoreError(f"lease store {path}: {error}; give --db another file") from error
