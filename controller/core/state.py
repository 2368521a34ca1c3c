"""Everything that the switches' rules depend on, as one value: the input of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from controller.core.lending import Book, Lease
from topologies.plan import Plan

Ranking = Mapping[str, tuple[str, ...]]
"""City code to PoP codes, best first: what a steering policy says."""


@dataclass(frozen=True, slots=True)
class State:
    """What is true now.

    ``ranking`` says for each city which PoPs serve it, best first. ``weights`` is each server's
    share of its PoP's new connections: 1 for a server that it does not name, 0 takes a server
    out. ``leases`` are the live ones. ``homes`` is the home PoP of every address that has one.
    """

    plan: Plan
    ranking: Ranking
    weights: Mapping[str, int] = field(default_factory=dict)
    leases: tuple[Lease, ...] = ()
    homes: Mapping[IPv4Address, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, plan: Plan, ranking: Ranking, book: Book, weights: Mapping[str, int] | None = None
    ) -> State:
        """The state with what a book lends at this moment."""
        return cls(plan, ranking, dict(weights or {}), book.live(), book.homes())
