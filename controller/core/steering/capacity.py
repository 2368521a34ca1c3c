"""Policy capacity: the nearest PoP that has room.

Which cities are moved off which PoPs is decided by ``controller.core.shedding`` from what is
measured, and written into the world; here it is only followed.
"""

from __future__ import annotations

from controller.core.steering.nearest import nearest
from controller.core.steering.ranking import Pops, Ranking
from controller.core.world import World


def capacity(world: World, pops: Pops) -> Ranking:
    """Rank by delay; PoPs that a city was shed from come after all others."""
    return {
        city: tuple(sorted(ranked, key=lambda pop: (city, pop) in world.shed))
        for city, ranked in nearest(world, pops).items()
    }
