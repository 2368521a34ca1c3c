"""The election in an SQLite store.

A leader that dies is known at once, because the kernel takes its lock away. One that stands still
keeps its lock: then the end of its term counts. Who was taken for dead and goes on finds another
generation in the store, in each transaction.
"""

from __future__ import annotations

from pathlib import Path

from controller.store.interface import Candidate, Deposed, Leader, StoreError
from controller.store.sqlite import SqliteStore
from controller.store.sqlite_file import Mark, explained, open_database
from controller.store.sqlite_leader import put_leader, read_leader, term_is_over

__all__ = ["SqliteElection"]


class SqliteElection:
    """A candidate at the store of a path, which is made if it is missing.

    Raises StoreError if the file is no lease store or was made by another version; ``campaign``
    also if it has lost commits.
    """

    def __init__(self, path: Path, candidate: Candidate) -> None:
        self._path, self._candidate = path, candidate
        self._db, self._fresh = open_database(path)
        with explained(path):
            self._mark = Mark(path)

    def leader(self) -> Leader | None:
        """Who leads, or led last."""
        with explained(self._path):
            return read_leader(self._db)

    def campaign(self, deposed: Deposed) -> SqliteStore | None:
        """The store, if nobody leads it."""
        with explained(self._path):
            if not self._is_vacant():
                return None
            mark = Mark(self._path)
            try:
                leader = self._take(mark)
            except BaseException:
                mark.close()
                raise
        if leader is None:
            mark.close()
            return None
        return SqliteStore(self._path, leader, mark, deposed)

    def _is_vacant(self) -> bool:
        last = read_leader(self._db)
        return last is None or term_is_over(self._db) or not self._mark.is_locked(last.generation)

    def _take(self, mark: Mark) -> Leader | None:
        """Become the leader, and show it by the mark's lock, unless another was faster."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            leader = Leader.next(self._candidate, read_leader(self._db))
            if self._is_vacant():
                self._check(mark)
                mark.lock(leader.generation)
                put_leader(self._db, leader)
                self._db.execute("COMMIT")
                return leader
            return None
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _check(self, mark: Mark) -> None:
        """Raise StoreError if the store knows of fewer commits than its mark."""
        known = mark.read()
        store, commits = self._db.execute("SELECT store, commits FROM mark").fetchone()
        if known is not None and (known[0] != store or known[1] > commits):
            if self._fresh and not commits:  # we made it, in place of the one that is gone
                self._path.unlink(missing_ok=True)
            raise StoreError(
                f"lease store {self._path}: {known[1]} commits were made, and it knows of "
                f"{commits}; switches may serve leases that it lost. Put the file back with its "
                f"-wal, or remove {self._path}* to begin with an empty book"
            )
        mark.write(store, commits)

    def close(self) -> None:
        """Stand no longer."""
        self._db.close()
        self._mark.close()
