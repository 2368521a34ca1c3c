"""Policy regional: a region is served by its own PoPs alone, as data localisation asks."""

from __future__ import annotations

from controller.core.steering.nearest import nearest
from controller.core.steering.ranking import Pops, Ranking
from controller.core.world import World


def regional(world: World, pops: Pops) -> Ranking:
    """Rank the PoPs of a city's own region by delay; there are no others for it.

    A region in which the network has no PoP at all is served by the nearest. One whose PoPs are
    all withdrawn is not served.
    """
    network = world.plan.network
    region = {city.code: city.region for city in network.cities}
    served = {region[pop.city] for pop in network.pops}

    def serves(pop: str, city: str) -> bool:
        return region[pop] == region[city] or region[city] not in served

    return {
        city: tuple(pop for pop in ranked if serves(pop, city))
        for city, ranked in nearest(world, pops).items()
    }
