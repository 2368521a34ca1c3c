"""Policy weighted: each PoP gets its share of the cities, wherever they are."""

from __future__ import annotations

from hashlib import blake2b
from math import log

from controller.core.steering.nearest import nearest
from controller.core.steering.ranking import Pops, Ranking
from controller.core.world import World


def weighted(world: World, pops: Pops) -> Ranking:
    """Rank by weighted rendezvous hashing of city and PoP (Thaler and Ravishankar, 1998).

    On average a PoP is first in its weight's share of the cities, and a weight that changes moves
    no more cities than it must. Weight 0 takes none.
    """
    wanted = tuple(pop for pop in pops if world.share(pop))
    return {
        city: tuple(
            sorted(ranked, key=lambda pop: score(city, pop, world.share(pop)), reverse=True)
        )
        for city, ranked in nearest(world, wanted).items()
    }


def score(city: str, pop: str, weight: int) -> float:
    """The higher of two scores wins; with a chance as its weight to the sum of both."""
    hashed = int.from_bytes(blake2b(f"{city} {pop}".encode(), digest_size=8).digest(), "big")
    return -weight / log((hashed + 0.5) / 2**64)
