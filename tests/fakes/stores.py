"""Lease stores that change hands."""

from __future__ import annotations

from controller.store import Candidate, Deposed, Store, open_election
from topologies.emulation.processes import until

HEIR = Candidate("second", "127.0.0.1:8081")


def take_over(where: str, deposed: Deposed = lambda: None) -> Store:
    """The store, as soon as nobody leads it any more."""
    election = open_election(where, HEIR)
    won: list[Store] = []

    def wins() -> bool:
        won.extend(store for store in [election.campaign(deposed)] if store is not None)
        return bool(won)

    until(wins, "the leader to be gone")
    election.close()
    return won[0]
