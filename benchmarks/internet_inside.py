"""``python -m benchmarks.internet_inside ASES MANY``: seconds for catchments, as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TypeVar

import numpy as np

from controller.core.steering.vectorised import Sites, loads, routes
from topologies.internet.generate import generate
from topologies.internet.graph import Internet, Neighbours

SITES = (10, 100, 1_000)
REPEATS, PEER_REPEATS = 7, 2
MAY_HAVE_SITES = 9_000
"""Sites stand at some of the first ASes, which have customers."""

Chosen = dict[int, tuple[int, int, int]]
"""By AS: the length of its route, who told it (-1: its own site), the site."""

Offer = tuple[int, int, int, int]
"""The same, and to whom it is offered."""

T = TypeVar("T")


def plain(internet: Internet, at: list[int]) -> Chosen:
    """The catchments of sites at these ASes, AS by AS: the peer, and an oracle of ours."""
    up, across, down = (_lists(x) for x in (internet.providers, internet.peers, internet.customers))
    found: Chosen = {}
    _spread(found, [(1, -1, site, node) for site, node in enumerate(at)], up)
    heard: Chosen = {}
    for node, (hops, _, site) in found.items():
        for peer in across[node]:
            if peer not in found:
                heard[peer] = min(heard.get(peer, (1 << 30, 0, 0)), (hops + 1, node, site))
    found |= heard
    _spread(found, [(x[0] + 1, n, x[2], c) for n, x in found.items() for c in down[n]], down)
    return found


def _spread(found: Chosen, offers: list[Offer], onward: list[list[int]]) -> None:
    """Give every AS without a route the best that it is offered, the shortest first."""
    heap: list[Offer] = []
    for offer in offers:
        heappush(heap, offer)
    while heap:
        hops, via, site, node = heappop(heap)
        if node not in found:
            found[node] = (hops, via, site)
            for neighbour in onward[node]:
                if neighbour not in found:
                    heappush(heap, (hops + 1, node, site, neighbour))


def _lists(neighbours: Neighbours) -> list[list[int]]:
    return [part.tolist() for part in np.split(neighbours.ends, neighbours.first[1:-1])]


def timed(what: Callable[[], T], repeats: int) -> tuple[list[float], T]:
    """Seconds of each time, and what came of the last."""
    took_s = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = what()
        took_s.append(time.perf_counter() - began)
    return took_s, found


def main(ases: int, many: int) -> dict[str, object]:
    """Both ways with several numbers of sites, then many configurations one after the other.

    Raises AssertionError if the two disagree at any AS.
    """
    internet = generate(ases)
    rng = np.random.default_rng(0)
    ours_s, peer_s = {}, {}
    for count in SITES:
        at = rng.choice(min(MAY_HAVE_SITES, ases), count, replace=False)
        ours_s[count], found = timed(lambda at=at: routes(internet, Sites.of(at)), REPEATS)
        peer_s[count], known = timed(lambda at=at: plain(internet, at.tolist()), PEER_REPEATS)
        assert {n: (h, s) for n, (h, _, s) in known.items()} == dict(
            enumerate(zip(found.hops.tolist(), found.site.tolist(), strict=True))
        )
    sites = Sites.of(at[: SITES[0]])
    began = time.perf_counter()
    for _ in range(many):
        prepended = Sites(sites.at, rng.integers(0, 4, SITES[0]), sites.scope, sites.up)
        loads(routes(internet, prepended), prepended, internet.clients)
    return {"ours_s": ours_s, "peer_s": peer_s, "many_s": time.perf_counter() - began}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
