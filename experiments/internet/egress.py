"""Addresses that the designs of egress take in hundreds of cities, by lending them.

The lender is the controller's own lease book, the designs are those of the study scarcity.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.studies.scarcity import OWN, OWNER, PORT_SETS, BookLender, Point, needed

PORTS: Mapping[str, int] = {OWN: 65536, OWNER: 65536, PORT_SETS: 2048}
"""How many ports of an address a server gets, by design: all of them, or a set as published."""

TAIL = 1.1
"""Servers of cities have a Pareto distribution with this exponent: a few cities have many."""

LEAST_SERVERS, MOST_SERVERS = 3, 200
"""In one city."""


def servers(cities: int, chance: random.Random) -> tuple[int, ...]:
    """How many servers each city has."""
    sizes = (LEAST_SERVERS * chance.paretovariate(TAIL) for _ in range(cities))
    return tuple(min(MOST_SERVERS, int(size)) for size in sizes)


def lent(cities: int, tags: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """By design: how many addresses are taken when every server has borrowed one of each tag.

    All borrow in a random order, so that no design profits from a good one.
    """
    by_city = servers(cities, chance)
    for design, ports in PORTS.items():
        pool = needed(design, by_city, 1, ports)
        point = Point("internet", design, ports, by_city, tags, pool)
        lender = BookLender(point)
        names = [point.tag(number) for number in range(tags)]
        borrowers = lender.servers(point)[: 1 if design == OWNER else None]
        wishes = [(server, city, tag) for server, city in borrowers for tag in names]
        chance.shuffle(wishes)
        for server, city, tag in wishes:
            lender.borrow(server, city, tag, ports)
        yield {
            "cities": cities,
            "design": design,
            "ports": ports,
            "tags": tags,
            "servers_by_city": list(by_city),
            "taken": lender.taken(names),
        }
