"""Which PoPs to announce first, and how far clients are from the nearest of some: closed forms.

All by round trips that the model gives, so nothing here depends on what a run measured. Clients
count alike. Ties go to the PoP that comes first in the network.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from itertools import combinations

from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole

EXHAUSTIVE_POPS = 12
"""With more PoPs than that not every set of them is tried: 12 have 4095."""

Rtts = Mapping[str, Mapping[str, float]]
"""By client and PoP: the round trip, ms."""


def rtts(oracle: Oracle) -> Rtts:
    """From every client to the servers of every PoP, which stand at equal distances."""
    made = oracle.plan
    servers = {pop: made.servers_of(pop)[0].name for pop in oracle.pops}
    return {
        client.name: {pop: oracle.rtt_ms(client.name, server) for pop, server in servers.items()}
        for client in made.hosts_of(HostRole.CLIENT)
    }


def nearest(ways: Rtts, pops: Iterable[str]) -> dict[str, float]:
    """By client: the round trip to the nearest of some PoPs, ms."""
    some = tuple(pops)
    return {client: min(mine[pop] for pop in some) for client, mine in ways.items()}


def greedy(ways: Rtts) -> tuple[str, ...]:
    """All PoPs; each next one is that which lowers the mean round trip of all clients most.

    The greedy algorithm for k medians, as Qiu, Padmanabhan and Voelker place replicas ("On the
    Placement of Web Server Replicas", INFOCOM 2001).
    """
    left = list(next(iter(ways.values())))
    chosen: tuple[str, ...] = ()
    while left:
        best = min(left, key=lambda pop: _mean(ways, (*chosen, pop)))
        chosen = (*chosen, best)
        left.remove(best)
    return chosen


def best(ways: Rtts, count: int) -> tuple[str, ...] | None:
    """The ``count`` PoPs with the least median round trip, and of those with the least mean.

    Every set is tried: None if there are more PoPs than ``EXHAUSTIVE_POPS``.
    """
    pops = tuple(next(iter(ways.values())))
    if len(pops) > EXHAUSTIVE_POPS:
        return None
    return min(combinations(pops, count), key=lambda some: (_median(ways, some), _mean(ways, some)))


def dearest(ways: Rtts) -> str:
    """The PoP without which some client's round trip grows most. There are two PoPs or more."""
    pops = tuple(next(iter(ways.values())))
    here = nearest(ways, pops)

    def growth(pop: str) -> float:
        there = nearest(ways, (other for other in pops if other != pop))
        return max(there[client] - here[client] for client in ways)

    return max(pops, key=growth)


def _mean(ways: Rtts, pops: tuple[str, ...]) -> float:
    return statistics.fmean(nearest(ways, pops).values())


def _median(ways: Rtts, pops: tuple[str, ...]) -> float:
    return statistics.median(nearest(ways, pops).values())
