"""Durable leases and the log of events: in a file (SQLite), or in etcd.

Of the controllers that share a store one at a time writes to it, the leader. What ``commit`` has
returned for survives a crash at any instruction.
"""

from __future__ import annotations

from pathlib import Path

from controller.store.etcd_election import EtcdElection
from controller.store.interface import (
    Candidate,
    Deposed,
    DeposedError,
    Election,
    Leader,
    Lending,
    Record,
    Store,
    StoreError,
)
from controller.store.layout import SCHEME
from controller.store.sqlite_election import SqliteElection

__all__ = [
    "Candidate",
    "Deposed",
    "DeposedError",
    "Election",
    "Leader",
    "Lending",
    "Record",
    "Store",
    "StoreError",
    "open_election",
    "open_store",
]


def open_election(where: str, candidate: Candidate) -> Election:
    """Where a candidate stands for the store at a path (SQLite), or at ``etcd://HOST:PORT/PREFIX``.

    Raises StoreError.
    """
    if where.startswith(SCHEME):
        return EtcdElection.at(where, candidate)
    return SqliteElection(Path(where), candidate)


def open_store(where: str) -> Store:
    """The store there, for a program that has no rivals. Raises StoreError if somebody leads it."""
    election = open_election(where, Candidate("somebody alone", ""))
    try:
        store = election.campaign(lambda: None)
        if store is None:
            leader = election.leader()
            who = "it came at the same time" if leader is None else leader.name
            raise StoreError(f"lease store {where}: another controller leads it ({who})")
        return store
    finally:
        election.close()
