"""Balancing: which server of a PoP takes a flow.

The switch hashes every flow to one of a fixed number of slots; a **spread** says which server has
which slot. Spreads are pure functions of the servers' weights, so that every switch and every
restart comes to the same one; they differ in how even they are and in how many slots move when
servers come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import gcd

from controller.core.groups import SERVICE_GROUP
from controller.core.rules import Bucket, Group, GroupKind, Output, SetField, mac
from controller.core.world import Spread, World
from topologies.hashing import hashed, score
from topologies.model import Balancing
from topologies.plan import HostPlan

SIZES = (61, 127, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521)
"""Numbers of slots: primes, as Maglev needs them, below powers of two."""

SLOTS_PER_SERVER = 16
"""At least so many has each of equal servers, so by Maglev the fullest has at most 1 in 16 more."""

Slots = tuple[str, ...]
"""The server of every slot."""


def size(servers: int) -> int:
    """How many slots a PoP of so many servers has."""
    return next((n for n in SIZES if n >= servers * SLOTS_PER_SERVER), SIZES[-1])


def modulo(weights: Mapping[str, int], slots: int) -> Slots:
    """Slot modulo the number of servers: even, and nearly every slot moves with that number."""
    common = gcd(*weights.values())
    turns = [name for name, weight in weights.items() for _ in range(weight // common)]
    return tuple(turns[slot % len(turns)] for slot in range(slots))


def rendezvous(weights: Mapping[str, int], slots: int) -> Slots:
    """The highest score has the slot (Thaler and Ravishankar, 1998): no slot moves but those of the
    server that goes, or to the one that comes. Even on average only.
    """
    return tuple(
        max(weights, key=lambda name: score(f"{name} {slot}", weights[name]))
        for slot in range(slots)
    )


def maglev(weights: Mapping[str, int], slots: int) -> Slots:
    """Servers take turns to claim the next free slot of their own permutation (Eisenbud et al.,
    "Maglev", NSDI 2016, section 3.4), as often as they weigh: even, and few slots move.

    ``slots`` is prime.
    """
    heaviest = max(weights.values())
    ways = {name: _permutation(name, slots) for name in weights}
    credit = dict.fromkeys(weights, 0)
    found: dict[int, str] = {}
    while True:
        for name, weight in weights.items():
            credit[name] += weight
            if credit[name] < heaviest:
                continue
            credit[name] -= heaviest
            offset, skip, step = ways[name]
            while (slot := (offset + step * skip) % slots) in found:
                step += 1
            ways[name] = (offset, skip, step + 1)
            found[slot] = name
            if len(found) == slots:
                return tuple(found[slot] for slot in range(slots))


def _permutation(name: str, slots: int) -> tuple[int, int, int]:
    """Offset, skip and how far it has been gone."""
    bits = hashed(name)
    return (bits >> 32) % slots, (bits & 0xFFFFFFFF) % (slots - 1) + 1, 0


SCHEMES: Mapping[Balancing, Callable[[Mapping[str, int], int], Slots]] = {
    Balancing.MAGLEV: maglev,
    Balancing.RENDEZVOUS: rendezvous,
    Balancing.MODULO: modulo,
}


@lru_cache(maxsize=256)
def spread(by: Spread, slots: int) -> Slots:
    """Which server has which slot; none where nobody serves, or the switch chooses by itself."""
    scheme = SCHEMES.get(by.scheme)
    return scheme(dict(by.weights), slots) if scheme and by.weights else ()


def chains(world: World, pop: str) -> tuple[tuple[str, ...], ...]:
    """For every slot: the server that has it, then those that had it before, the last first.

    A server that is sick or cut off is in none. Empty where nobody serves, or the switch chooses.
    """
    slots = size(len(world.plan.servers_of(pop)))
    now = spread(world.spread(pop), slots)
    if not now:
        return ()
    former = [spread(by, slots) for by in world.former.get(pop, ())]
    known = [now, *(found for found in former if found)]
    return tuple(
        tuple(dict.fromkeys(x for x in owners if x == owners[0] or world.is_well(x)))
        for owners in zip(*known, strict=True)
    )


def serving(world: World, pop: str) -> tuple[HostPlan, ...]:
    """The servers of a PoP that take new flows: those whose weight is not 0."""
    return tuple(s for s in world.plan.servers_of(pop) if world.weight(s.name))


def service_group(world: World, pop: str) -> Group | None:
    """One bucket per serving server, in the order of their ports; None when there is none.

    Scheme group alone has it.
    """
    if world.balancing is not Balancing.GROUP:
        return None
    buckets = tuple(
        Bucket(
            actions=(SetField("eth_dst", mac(server.mac)), Output(server.port)),
            weight=world.weight(server.name),
        )
        for server in serving(world, pop)
    )
    return Group(SERVICE_GROUP, GroupKind.SELECT, buckets) if buckets else None
