"""Durable leases and the log of events: in a file (SQLite), or in etcd.

One controller at a time writes to a store; a second one is refused. What ``commit`` has returned
for survives a crash at any instruction.
"""

from __future__ import annotations

from pathlib import Path

from controller.store.interface import Lending, Record, Store, StoreError
from controller.store.layout import SCHEME
from controller.store.sqlite import SqliteStore

__all__ = ["Lending", "Record", "SqliteStore", "Store", "StoreError", "open_store"]


def open_store(where: str) -> Store:
    """The store at a path (SQLite), or at ``etcd://HOST:PORT/PREFIX``. Raises StoreError."""
    if not where.startswith(SCHEME):
        return SqliteStore(Path(where))
    from controller.store.etcd import EtcdStore  # who keeps a file needs no eventlet

    return EtcdStore.at(where)
