"""An Internet drawn from a seed: equal seeds give equal bytes.

Some ASes pay nobody and all peer with each other (tier 1). Every other one pays some that came
before it, so nobody pays in a circle and everybody reaches everybody. Who has many customers gets
more (preferential attachment: A.-L. Barabasi and R. Albert, "Emergence of Scaling in Random
Networks", 1999), mostly in its own part of the world. ASes of one city peer at its exchange.

No claim about the real Internet is made: it has tiers, a heavy tail and a map, and about as many
relations.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from topologies.internet import places
from topologies.internet.graph import Bools, Floats, Internet, Ints, wide
from topologies.internet.places import Places

ASES = 75_000
TIER_1 = 15
TRANSIT_SHARE = 0.15
"""Of all ASes, those that may have customers."""

MORE_PROVIDERS = 1.1
"""An AS pays so many providers besides the first, on the mean (Poisson)."""

ABROAD = 0.15
"""The share of providers that are chosen from the whole world, not from the own part."""

PEERINGS = 1.6
"""Relations between peers for each AS, on the mean, before doubles are taken away."""

EXCHANGE_SHARE = 0.4
"""The share of ASes without customers that come to their city's exchange; all others do."""

ROUNDS = 200
"""Customers come in so many rounds, each larger than the one before by the same factor; within
one, nobody sees what the others choose."""


def generate(ases: int = ASES, seed: int = 1) -> Internet:
    """An Internet of so many ASes. Raises ValueError for fewer than twice ``TIER_1``."""
    if ases < 2 * TIER_1:
        raise ValueError(f"{ases} ASes have no tiers: ask for {2 * TIER_1} or more.")
    rng = np.random.default_rng(seed)
    where = places.drawn(ases, rng)
    provider, customer = _providers(ases, where, rng)
    peer_a, peer_b = _peers(ases, where, provider, customer, rng)
    return Internet(
        name=f"generated-{ases}-{seed}",
        number=np.arange(1, ases + 1),
        provider=provider,
        customer=customer,
        peer_a=peer_a,
        peer_b=peer_b,
        lat=where.lat,
        lon=where.lon,
        region=where.region,
        regions=tuple(places.SHARES),
        clients=places.clients(ases, rng),
        wide=wide(ases, provider, customer),
    )


def _transit(ases: int) -> int:
    """How many ASes may have customers: they come first."""
    return max(TIER_1 + 1, int(TRANSIT_SHARE * ases))


def _providers(ases: int, where: Places, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Provider and customer of every such relation."""
    chances = np.zeros(_transit(ases))
    chances[:TIER_1] = 1
    pairs = []
    bounds = np.unique(np.geomspace(TIER_1, ases, ROUNDS).round().astype(np.int32))
    for start, end in pairwise(bounds):
        newcomers = np.arange(start, end, dtype=np.int32)
        found = list(_choices(newcomers, chances, where, rng))
        for provider, _ in found:
            np.add.at(chances, provider, 1)
        pairs += found
        chances[newcomers[newcomers < len(chances)]] += 1
    provider, customer = (np.concatenate(part) for part in zip(*pairs, strict=True))
    kept = np.unique(customer.astype(np.int64) * ases + provider)
    return (kept % ases).astype(np.int32), (kept // ases).astype(np.int32)


def _choices(
    newcomers: Ints, chances: Floats, where: Places, rng: np.random.Generator
) -> Iterator[tuple[Ints, Ints]]:
    """Whom newcomers choose for providers: by ``chances``, near or anywhere."""
    asks = np.repeat(newcomers, 1 + rng.poisson(MORE_PROVIDERS, len(newcomers)))
    abroad = rng.random(len(asks)) < ABROAD
    region = where.region[: len(chances)]
    for part in range(len(places.SHARES)):
        mine = asks[~abroad & (where.region[asks] == part)]
        near = np.where(region == part, chances, 0.0)
        near[:TIER_1] = chances[:TIER_1] / len(places.SHARES)  # they are in every part
        yield _chosen(near, len(mine), rng), mine
    yield _chosen(chances, int(abroad.sum()), rng), asks[abroad]


def _chosen(chances: Floats, count: int, rng: np.random.Generator) -> Ints:
    """So many draws with these chances."""
    upto = np.cumsum(chances)
    drawn = rng.random(count) * upto[-1]
    chosen: Ints = np.searchsorted(upto, drawn, side="right").astype(np.int32)
    return chosen


def _peers(
    ases: int, where: Places, provider: Ints, customer: Ints, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Tier 1 among itself, and what meets at exchanges; who pays the other is no peer."""
    low, high = np.triu_indices(TIER_1, 1)
    members = _members(ases, rng)
    pairs = [low.astype(np.int64) * ases + high]
    rooms = [np.flatnonzero(members & (where.city == city)) for city in range(len(where.codes))]
    meetings = sum(len(room) ** 2 for room in rooms)
    for room in rooms:
        count = round(PEERINGS * ases * len(room) ** 2 / meetings)
        a, b = (rng.choice(room, count) if count else room[:0] for _ in "ab")
        pairs.append(np.minimum(a, b).astype(np.int64) * ases + np.maximum(a, b))
    keys = np.unique(np.concatenate(pairs))
    keys = np.setdiff1d(keys, provider.astype(np.int64) * ases + customer, assume_unique=True)
    keys = keys[keys // ases != keys % ases]
    return (keys // ases).astype(np.int32), (keys % ases).astype(np.int32)


def _members(ases: int, rng: np.random.Generator) -> Bools:
    """Who comes to the exchange of its city: not tier 1, whom others pay."""
    here = np.arange(ases)
    comes = (here < _transit(ases)) | (rng.random(ases) < EXCHANGE_SHARE)
    return comes & (here >= TIER_1)
