"""Who leads an SQLite store: a row, which says how long it counts without a sign of life."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from controller.store.interface import Leader
from controller.store.sqlite_file import connect, explained

__all__ = ["TERM_S", "Term", "put_leader", "read_leader", "term_is_over"]

TERM_S = 1.0
"""How long a leader leads without a sign of life, in the time of CLOCK_BOOTTIME."""

_RENEW = "UPDATE leader SET until_ns = ? WHERE generation = ?"


def read_leader(database: sqlite3.Connection) -> Leader | None:
    """Who leads, or led last. Raises sqlite3.Error."""
    found = database.execute("SELECT name, at, generation FROM leader").fetchone()
    return None if found is None else Leader(*found)


def term_is_over(database: sqlite3.Connection) -> bool:
    """Whether no leader gave a sign of life for a term. Raises sqlite3.Error."""
    found = database.execute("SELECT until_ns FROM leader").fetchone()
    return found is None or bool(found[0] <= _now_ns())


def put_leader(database: sqlite3.Connection, leader: Leader) -> None:
    """Make somebody the leader, for a term. Raises sqlite3.Error."""
    database.execute("DELETE FROM leader")
    row = (leader.name, leader.at, leader.generation, _now_ns() + int(TERM_S * 1e9))
    database.execute("INSERT INTO leader VALUES (?, ?, ?, ?)", row)


class Term:
    """The term of a leader. What is renewed is not waited for: after a power cut nobody leads."""

    def __init__(self, path: Path, leader: Leader) -> None:
        self._path, self._leader = path, leader
        self._db = connect(path, durable=False)

    def renew(self) -> bool:
        """Begin another term, unless another leads by now. Raises StoreError."""
        with explained(self._path):
            until_ns = _now_ns() + int(TERM_S * 1e9)
            renewed = self._db.execute(_RENEW, (until_ns, self._leader.generation))
        return renewed.rowcount == 1

    def close(self) -> None:
        """Give no further sign."""
        self._db.close()


def _now_ns() -> int:
    """The same for all processes of a host, and it goes on in suspend."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
