"""Where to put PoPs when the user says only how many."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from topologies import shortest
from topologies.model import Network, Pop
from topologies.paths import city_graph
from topologies.validate import NetworkError, Problem, suggest

_NUMBER = re.compile(r"\s*[0-9]{1,9}\s*")
_NO_WAY = 1 << 60
"""Longer than any delay, in nanoseconds: a file may have cities that nothing joins."""


def with_pops(network: Network, wanted: str) -> Network:
    """The network with other PoPs: a list of cities (``LHR,Paris``), or how many (``5``).

    A city is named by its code or its name. PoPs that the network already has keep their
    servers; backbone links stay where both their PoPs stay. Raises NetworkError.
    """
    cities = _count(network, wanted) if _NUMBER.fullmatch(wanted) else _named(network, wanted)
    known = {pop.city: pop for pop in network.pops}
    pops = tuple(known.get(city) or Pop(city, servers=2) for city in cities)
    backbone = tuple(link for link in network.backbone if {link.a, link.b} <= set(cities))
    return replace(network, pops=pops, backbone=backbone)


def spread(network: Network, count: int, among: Collection[str] | None = None) -> list[str]:
    """``count`` city codes far from each other: greedy k-centre on the least delays.

    The first is the city with the least total delay to all others, each next one the city
    farthest from those chosen; the network's order breaks ties. No city is then farther from
    its centre than twice the best possible (Gonzalez, 1985). ``among`` are the codes to choose
    from, at least ``count`` of them; the bound is for all cities, which is the default.
    """
    cities = city_graph(network)
    eligible = [code for code in cities if among is None or code in among]
    far = {code: dict.fromkeys(cities, _NO_WAY) | shortest.costs(cities, code) for code in eligible}
    chosen = [min(eligible, key=lambda code: sum(far[code].values()))]
    nearest = far[chosen[0]]
    while len(chosen) < count:
        chosen.append(max(eligible, key=nearest.__getitem__))
        newest = far[chosen[-1]]
        nearest = {code: min(delay, newest[code]) for code, delay in nearest.items()}
    return chosen


def _count(network: Network, wanted: str) -> list[str]:
    count = int(wanted)
    if not 1 <= count <= len(network.cities):
        mend = f"use 1 to {len(network.cities)}"
        cause = f"{count} PoPs do not fit {len(network.cities)} cities"
        raise NetworkError([Problem(("--pops",), cause, mend)])
    return spread(network, count)


def _named(network: Network, wanted: str) -> list[str]:
    codes = {city.code.casefold(): city.code for city in network.cities}
    names = {city.name.casefold(): city.code for city in reversed(network.cities)}
    found, wrong = [], []
    for word in filter(None, map(str.strip, wanted.split(","))):
        code = codes.get(word.casefold()) or names.get(word.casefold())
        if code is None:
            known = [*codes.values(), *(city.name for city in network.cities)]
            wrong.append(Problem(("--pops",), f"there is no city {word!r}", suggest(word, known)))
        elif code in found:
            wrong.append(Problem(("--pops",), f"{word!r} is named twice", "name it once"))
        else:
            found.append(code)
    if wrong or not found:
        empty = Problem(("--pops",), "no city is named", "name some, or say how many")
        raise NetworkError(wrong or [empty])
    return found
