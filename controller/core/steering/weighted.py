"""Policy weighted: each PoP gets its share of the cities, wherever they are."""

from __future__ import annotations

from controller.core.steering.nearest import nearest
from controller.core.steering.ranking import Pops, Ranking
from controller.core.world import World
from topologies.hashing import score


def weighted(world: World, pops: Pops) -> Ranking:
    """Rank by weighted rendezvous hashing of city and PoP (Thaler and Ravishankar, 1998).

    On average a PoP is first in its weight's share of the cities, and a weight that changes moves
    no more cities than it must. Weight 0 takes none.
    """
    wanted = tuple(pop for pop in pops if world.share(pop))
    return {
        city: tuple(
            sorted(ranked, key=lambda pop: score(f"{city} {pop}", world.share(pop)), reverse=True)
        )
        for city, ranked in nearest(world, wanted).items()
    }
