"""Where sites are put: at random, greedily, or at large ASes near a network's PoPs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.core.steering.vectorised import Sites, routes, rtt_ms
from topologies.internet.graph import Floats, Internet, Ints, distance_km
from topologies.model import City

NEAREST = 25
"""Who looks for an AS in a city asks so many."""


def hosts(internet: Internet) -> Ints:
    """The ASes where a site may be: those with customers."""
    return np.flatnonzero(internet.customers.degrees() > 0).astype(np.int32)


def drawn(internet: Internet, count: int, rng: np.random.Generator) -> Ints:
    """So many different hosts, each as likely as another. Raises ValueError if there are fewer."""
    return rng.choice(hosts(internet), count, replace=False)


def near(internet: Internet, cities: Sequence[City]) -> Ints:
    """For each city, in order, a host that no city before it has: of those that are nearest, the
    one with most customers.
    """
    left, size = hosts(internet), internet.customers.degrees()
    found = []
    for city in cities:
        km = distance_km(internet.lat[left], internet.lon[left], city.lat, city.lon)
        nearest = np.argsort(km, kind="stable")[:NEAREST]
        place = int(nearest[np.argmax(size[left[nearest]])])
        found.append(left[place])
        left = np.delete(left, place)
    return np.array(found, dtype=np.int32)


def greedy(internet: Internet, candidates: Ints, count: int) -> Ints:
    """So many of the candidates; each next one lowers the clients' mean round trip most.

    The round trip is along the AS path that policy bgp chooses, so one more site can raise it; then
    the one that raises it least is taken. The greedy algorithm for k medians (L. Qiu, V.
    Padmanabhan and G. Voelker, "On the Placement of Web Server Replicas", INFOCOM 2001).
    """
    chosen: list[int] = []
    left = candidates.tolist()
    for _ in range(min(count, len(left))):
        best = min(left, key=lambda one: mean_rtt_ms(internet, Sites.of([*chosen, one])))
        chosen.append(best)
        left.remove(best)
    return np.array(chosen, dtype=np.int32)


def mean_rtt_ms(internet: Internet, sites: Sites) -> float:
    """Of all clients, ms; infinite if some reach no site."""
    found = routes(internet, sites)
    times = rtt_ms(internet, found)
    return float(np.dot(internet.clients, times)) if found.reached.all() else float("inf")


def nearest_ms(internet: Internet, at: Ints) -> Floats:
    """By AS: the round trip of light to the nearest of some ASes, straight there (ms)."""
    from scipy.spatial import KDTree

    lat, lon = np.radians(internet.lat), np.radians(internet.lon)
    points = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    _, place = KDTree(points[at]).query(points)
    here = np.arange(internet.size, dtype=np.int32)
    return internet.rtt_ms(here, at[place])
