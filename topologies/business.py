"""Who pays whom: the business relations between the networks of cities.

Two neighbouring networks (autonomous systems) are customer and provider, or peers (L. Gao, "On
inferring autonomous system relationships in the Internet", 2001). A link says so by its
``customer``. Where it does not, the network further from the core pays, and networks at the same
distance are peers; the core is the network with most neighbours. So every network has a provider on
a way to the core, and any two have a valley-free way between them.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from graphlib import CycleError, TopologicalSorter

from topologies.model import Network, Scope


class Neighbour(IntEnum):
    """What a neighbouring network is to one; routes that it tells are liked in this order."""

    CUSTOMER = 0
    PEER = 1
    PROVIDER = 2


def neighbours(network: Network) -> tuple[tuple[Neighbour, Neighbour] | None, ...]:
    """For each link: what b is to a, and a to b; None between cities of one network."""
    of = {city.code: city.network for city in network.cities}
    far = _distances(network, of)
    found: list[tuple[Neighbour, Neighbour] | None] = []
    for link in network.links:
        a, b = of[link.a], of[link.b]
        pays = link.customer
        if pays is None and far[a] != far[b]:
            pays = link.a if far[a] > far[b] else link.b
        if a == b:
            found.append(None)
        elif pays == link.a:
            found.append((Neighbour.PROVIDER, Neighbour.CUSTOMER))
        elif pays == link.b:
            found.append((Neighbour.CUSTOMER, Neighbour.PROVIDER))
        else:
            found.append((Neighbour.PEER, Neighbour.PEER))
    return tuple(found)


def circle(network: Network) -> tuple[str, ...]:
    """Networks of which each pays the next and the last the first; empty if there are none.

    Nobody is its own provider: in such a circle BGP may never come to rest (Gao and Rexford, 2001).
    """
    of = {city.code: city.network for city in network.cities}
    providers: dict[str, set[str]] = {name: set() for name in of.values()}
    for link, pair in zip(network.links, neighbours(network), strict=True):
        if pair is not None and Neighbour.PROVIDER in pair:
            a, b = of[link.a], of[link.b]
            pays, paid = (a, b) if pair[0] is Neighbour.PROVIDER else (b, a)
            providers[pays].add(paid)
    try:
        TopologicalSorter(providers).prepare()
    except CycleError as error:
        # The sorter names the circle from provider to customer.
        return tuple(reversed(error.args[1]))[:-1]
    return ()


def unreached(network: Network) -> tuple[str, ...]:
    """The cities that no valley-free way leads to from any PoP, or not within its scope."""
    of = {city.code: city.network for city in network.cities}
    near: dict[str, list[tuple[str, Neighbour | None]]] = {city: [] for city in of}
    for link, kinds in zip(network.links, neighbours(network), strict=True):
        b_is, a_is = kinds or (None, None)
        near[link.a].append((link.b, b_is))
        near[link.b].append((link.a, a_is))
    waiting = [(pop.city, pop.scope) for pop in network.pops]
    found = set(waiting)
    while waiting:
        here, told_to = waiting.pop()
        for city, is_to_us in near[here]:
            heard = _heard(told_to, is_to_us)
            if heard is not None and (city, heard) not in found:
                found.add((city, heard))
                waiting.append((city, heard))
    reached = {city for city, _ in found}
    return tuple(city for city in of if city not in reached)


def _heard(told_to: Scope, neighbour: Neighbour | None) -> Scope | None:
    """Whom a neighbour tells what it hears of a route that is told so far; None: it hears none."""
    if neighbour is None:
        return told_to
    if neighbour is Neighbour.CUSTOMER:
        return None if told_to is Scope.NOBODY else Scope.CUSTOMERS
    if told_to is not Scope.ALL:
        return None
    return Scope.ALL if neighbour is Neighbour.PROVIDER else Scope.CUSTOMERS


def _distances(network: Network, of: dict[str, str]) -> dict[str, int]:
    """How many networks lie between each and the core."""
    near: dict[str, dict[str, None]] = {name: {} for name in of.values()}
    for link in network.links:
        a, b = of[link.a], of[link.b]
        if a != b:
            near[a][b] = near[b][a] = None
    core = max(near, key=lambda name: len(near[name]))
    found, waiting = {core: 0}, deque([core])
    while waiting:
        here = waiting.popleft()
        for name in near[here]:
            if name not in found:
                found[name] = found[here] + 1
                waiting.append(name)
    return found
