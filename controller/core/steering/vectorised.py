"""Policy bgp on an Internet of arrays: the same rest of the same rules, for 75,000 ASes at once.

``controller.core.steering.bgp`` lets routers talk until nothing changes. Where nobody pays in a
circle, that rest can be worked out in three stages (P. Gill, M. Schapira and S. Goldberg, "Let the
Market Drive Deployment", 2011, appendix): routes climb from customers to providers, cross to peers
once, and descend to customers, in each stage by the length of the AS path. One router for each AS,
so there is no hot potato; what is left of the order of preferences is

1. a customer's route, then a peer's, then a provider's; an AS's own site is as a customer,
2. the shorter AS path, prepending counted,
3. the own site, then the neighbour with the lower number, then the site with the lower number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from topologies.business import Neighbour
from topologies.internet.graph import Bools, Floats, Internet, Ints, Neighbours
from topologies.model import Scope

NONE = -1
"""No site, no neighbour: an AS that no route reaches."""

UNTOLD = 3
"""In place of a ``Neighbour`` where there is no route."""


@dataclass(frozen=True, eq=False)
class Sites:
    """Where one prefix is announced. Site number n is a customer of AS ``at[n]``, names us
    ``prepend[n]`` times more, has a ``scope[n]``, and announces at all if it is ``up[n]``.
    """

    at: Ints
    prepend: Ints
    scope: tuple[Scope, ...]
    up: Bools

    @classmethod
    def of(cls, at: Sequence[int] | Ints) -> Sites:
        """Sites at these ASes, all up, without prepending, told to all."""
        count = len(at)
        none = np.zeros(count, dtype=np.int32)
        ases = np.asarray(at, dtype=np.int32)
        return cls(ases, none, (Scope.ALL,) * count, np.ones(count, dtype=np.bool_))

    def without(self, site: int) -> Sites:
        """The same with one site down."""
        up = self.up.copy()
        up[site] = False
        return replace(self, up=up)


@dataclass(frozen=True, eq=False)
class Routes:
    """By AS, its chosen route: the ``site`` at its end, its ``hops`` (the length of the AS path),
    what the neighbour ``via`` that told it is to it. An AS with a site of its own is told by
    itself; where no route reaches, ``site`` and ``via`` are NONE and ``heard_from`` is UNTOLD.
    """

    site: Ints
    hops: Ints
    heard_from: NDArray[np.int8]
    via: Ints

    @property
    def reached(self) -> Bools:
        """Which ASes have a route."""
        found: Bools = self.site != NONE
        return found

    def path(self, node: int) -> tuple[int, ...]:
        """The ASes from one to its site, itself the first; empty if no route reaches it."""
        if self.site[node] == NONE:
            return ()
        found = [node]
        while self.via[found[-1]] != found[-1]:
            found.append(int(self.via[found[-1]]))
        return tuple(found)


def routes(internet: Internet, sites: Sites, leaker: int | None = None) -> Routes:
    """Every AS's route when BGP has come to rest.

    A ``leaker`` tells its route to all neighbours, whoever told it (RFC 7908). Those on its own
    path find themselves in what it tells and keep what they had. ``check`` of the graph must hold.
    """
    if leaker is None:
        return _Rest(internet, sites).found()
    lawful = _Rest(internet, sites).found()
    rest = _Rest(internet, sites)
    rest.keep(lawful, np.array(lawful.path(leaker), dtype=np.int32))
    rest.tells_up[leaker] = lawful.site[leaker] != NONE
    return rest.found()


def loads(routes: Routes, sites: Sites, weights: Floats) -> Floats:
    """By site: the sum of the weights of those ASes whose route ends there."""
    reached = routes.reached
    ends, shares = routes.site[reached], weights[reached]
    return np.bincount(ends, shares, len(sites.at)).astype(np.float64)


def rtt_ms(internet: Internet, routes: Routes) -> Floats:
    """By AS: the round trip along its AS path (ms), from place to place; NaN where none leads.

    A wide AS has routers everywhere: who passes through it goes straight on to the next place.
    """
    here = np.arange(internet.size, dtype=np.int32)
    via = np.where(routes.reached, routes.via, here)
    passed = internet.wide & (via != here)
    while passed[via].any():
        via = np.where(passed[via], via[via], via)
    total = internet.rtt_ms(here, via)
    while (via != via[via]).any():  # the way to twice as far is that of the halves
        total, via = total + total[via], via[via]
    return np.where(routes.reached, total, np.nan)


class _Rest:
    """What is settled so far; an AS that is settled keeps its route."""

    def __init__(self, internet: Internet, sites: Sites) -> None:
        size = internet.size
        self.internet = internet
        self.site = np.full(size, NONE, dtype=np.int32)
        self.hops = np.zeros(size, dtype=np.int32)
        self.heard_from = np.full(size, UNTOLD, dtype=np.int8)
        self.via = np.full(size, NONE, dtype=np.int32)
        self.tells_up = np.zeros(size, dtype=np.bool_)
        """Whether it tells providers and peers."""
        self.tells_down = np.zeros(size, dtype=np.bool_)
        self.sites = sites
        # Each AS's own best site: the last that is written stays, so the best comes last.
        up = np.flatnonzero(sites.up)
        best_last = up[np.lexsort((up, sites.prepend[up]))][::-1]
        self.own = np.full(size, NONE, dtype=np.int32)
        self.own[sites.at[best_last]] = best_last
        self.owners = np.flatnonzero(self.own != NONE).astype(np.int32)
        self.own_hops = 1 + sites.prepend[self.own[self.owners]]

    def found(self) -> Routes:
        """The three stages, one after the other."""
        self._climb()
        self._cross()
        self._descend()
        return Routes(self.site, self.hops, self.heard_from, self.via)

    def keep(self, routes: Routes, nodes: Ints) -> None:
        """Settle some ASes as they are in other routes."""
        own = nodes[routes.via[nodes] == nodes]
        self._settle_own(own)
        for node in nodes[routes.via[nodes] != nodes]:
            self.site[node], self.hops[node] = routes.site[node], routes.hops[node]
            self.heard_from[node], self.via[node] = routes.heard_from[node], routes.via[node]
            self.tells_up[node] = routes.heard_from[node] == Neighbour.CUSTOMER
            self.tells_down[node] = True

    def _climb(self) -> None:
        """Customers' routes, the shortest first; an own site wins over a route of equal length."""
        last = max(int(self.own_hops.max(initial=0)), int(self.hops.max(initial=0)))
        length = 1
        while length <= last + 1:
            self._settle_own(self.owners[self.own_hops == length])
            told = self._told(self.internet.providers, self.tells_up, length - 1)
            self._settle(told, Neighbour.CUSTOMER)
            self.tells_up[told] = True
            last = max(last, length) if len(told) else last
            length += 1

    def _cross(self) -> None:
        """Peers tell each other of their customers' routes: the shortest wins, by lower number."""
        tellers = np.flatnonzero(self.tells_up).astype(np.int32)
        order = np.lexsort((tellers, self.hops[tellers]))
        self._settle(self._hear(self.internet.peers, tellers[order][::-1]), Neighbour.PEER)

    def _descend(self) -> None:
        """Providers tell customers whatever they have, the shortest first."""
        last, length = int(self.hops.max(initial=0)), 1
        while length <= last:
            told = self._told(self.internet.customers, self.tells_down, length)
            self._settle(told, Neighbour.PROVIDER)
            last = max(last, length + 1) if len(told) else last
            length += 1

    def _told(self, neighbours: Neighbours, telling: Bools, length: int) -> Ints:
        """Who hears something for the first time from those whose route has this length."""
        tellers = np.flatnonzero(telling & (self.hops == length)).astype(np.int32)
        return self._hear(neighbours, tellers[::-1])

    def _hear(self, neighbours: Neighbours, tellers: Ints) -> Ints:
        """Who is not settled and hears from tellers; of several the last in their order is heard.

        numpy writes repeated places in order, so the last write stays.
        """
        told_by, hearers = neighbours.pairs(tellers)
        new = self.site[hearers] == NONE
        heard: Ints = hearers[new]
        self.via[heard] = told_by[new]
        return heard

    def _settle(self, nodes: Ints, heard_from: Neighbour) -> None:
        """Give those that have heard a route what their neighbour has, and a hop more."""
        via = self.via[nodes]
        self.site[nodes] = self.site[via]
        self.hops[nodes] = self.hops[via] + 1
        self.heard_from[nodes] = heard_from
        self.tells_down[nodes] = True

    def _settle_own(self, nodes: Ints) -> None:
        """Give those that are not settled the route to their own site."""
        nodes = nodes[self.site[nodes] == NONE]
        own = self.own[nodes]
        self.site[nodes], self.via[nodes] = own, nodes
        self.hops[nodes] = 1 + self.sites.prepend[own]
        self.heard_from[nodes] = Neighbour.CUSTOMER
        scopes = [self.sites.scope[site] for site in own]
        self.tells_up[nodes] = [scope is Scope.ALL for scope in scopes]
        self.tells_down[nodes] = [scope is not Scope.NOBODY for scope in scopes]
