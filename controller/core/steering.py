"""Steering: which PoP serves which city.

A policy is a pure function that ranks the PoPs for every city, best first. What people want
besides (an override, a PoP that is drained or withdrawn) is applied to whatever the policy says.
The best one gets the city's traffic; the others are there for failures to fall back on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from controller.core import routing
from controller.core.events import Policy, PopState
from controller.core.world import World

Ranking = Mapping[str, tuple[str, ...]]
"""City code to PoP codes, best first. A PoP that is left out is not used."""


def nearest(world: World) -> Ranking:
    """Rank by one-way delay over the city graph plus the PoP's uplink.

    Ties go to fewer hops, then to the PoP with the lower number. PoPs out of reach are left out.
    """
    plan, reach = world.plan, []
    for edge in plan.edges:
        graph = routing.label_graph(world, edge)
        reach.append((edge, routing.costs(graph, edge.name)))
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


def nearby(world: World, pop: str) -> Iterator[str]:
    """The other PoPs that reach one, by one-way delay to it; worked out when the first is asked."""
    here = world.plan.edge(pop)
    cost = routing.costs(routing.label_graph(world, here), here.name)
    there = [edge for edge in world.plan.edges if edge is not here and edge.name in cost]
    yield from (edge.city for edge in sorted(there, key=lambda edge: cost[edge.name]))


POLICIES: Mapping[Policy, Callable[[World], Ranking]] = {Policy.NEAREST: nearest}


def rank(world: World) -> Ranking:
    """Every city's PoPs by the world's policy, its overrides and the states of its PoPs.

    Withdrawn PoPs are left out, drained ones come last. An override comes first, drained or not,
    where its PoP is announced at all and can be reached.
    """
    ranking = POLICIES[world.policy](world)
    return {city: _wanted(world, city, pops) for city, pops in ranking.items()}


def _wanted(world: World, city: str, ranked: tuple[str, ...]) -> tuple[str, ...]:
    override = world.overrides.get(city)
    used = (pop for pop in ranked if world.pop_state(pop) is not PopState.WITHDRAWN)
    return tuple(
        sorted(used, key=lambda pop: (pop != override, world.pop_state(pop) is PopState.DRAINED))
    )
