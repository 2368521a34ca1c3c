"""Policy nearest: the PoP with the least delay, as a controller can see it and BGP cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.core import routing
from controller.core.steering.ranking import Pops, Ranking
from controller.core.world import World


def nearest(world: World, pops: Pops) -> Ranking:
    """Rank by one-way delay over the city graph plus the PoP's uplink.

    Ties go to fewer hops, then to the PoP with the lower number. PoPs out of reach are left out.
    """
    plan = world.plan
    reach = [(plan.edge(pop), costs(world, pop)) for pop in pops]
    return {
        transit.city: tuple(
            pop
            for _, _, pop in sorted(
                (cost[transit.name], edge.number, edge.city)
                for edge, cost in reach
                if transit.name in cost
            )
        )
        for transit in plan.transits
    }


def costs(world: World, pop: str) -> Mapping[str, int]:
    """What the way to a PoP costs from every switch that reaches it, as ``routing`` counts."""
    edge = world.plan.edge(pop)
    return routing.costs(routing.label_graph(world, edge), edge.name)


def nearby(world: World, pop: str) -> Iterator[str]:
    """The other PoPs that reach one, by one-way delay to it; worked out when the first is asked."""
    here, cost = world.plan.edge(pop), costs(world, pop)
    there = [edge for edge in world.plan.edges if edge is not here and edge.name in cost]
    yield from (edge.city for edge in sorted(there, key=lambda edge: cost[edge.name]))
