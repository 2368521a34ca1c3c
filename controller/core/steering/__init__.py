"""Steering: which PoP serves which city.

A policy is a pure function that ranks some PoPs for every city, best first. What people want
besides (an override, a PoP that is drained or withdrawn) is applied to whatever the policy says.
The best one gets the city's traffic; the others are there for failures to fall back on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controller.core.events import PopState
from controller.core.steering.bgp import bgp
from controller.core.steering.capacity import capacity
from controller.core.steering.nearest import nearby, nearest
from controller.core.steering.ranking import Pops, Ranking
from controller.core.steering.regional import regional
from controller.core.steering.weighted import weighted
from controller.core.world import World
from topologies.model import Policy

__all__ = ["POLICIES", "Ranking", "nearby", "nearest", "rank"]

POLICIES: Mapping[Policy, Callable[[World, Pops], Ranking]] = {
    Policy.NEAREST: nearest,
    Policy.BGP: bgp,
    Policy.REGIONAL: regional,
    Policy.WEIGHTED: weighted,
    Policy.CAPACITY: capacity,
}


def rank(world: World) -> Ranking:
    """Every city's PoPs by the world's policy, its overrides and the states of its PoPs.

    A city that has not heard of the last changes keeps its ranking, right or wrong.

    Withdrawn PoPs are left out, drained ones come last, and with them those without a serving
    server (RFC 4786 section 4.4.1: announce only what can be served). An override comes first,
    drained or not, where its PoP is announced at all and can be reached.
    """
    policy = POLICIES[world.policy]
    announced = policy(world, _in_state(world, PopState.ANNOUNCED))
    drained = policy(world, _in_state(world, PopState.DRAINED))
    heard = {city: (*announced[city], *drained[city]) for city in announced} | dict(world.held)
    return {city: _first(_override(world, city), ranked) for city, ranked in heard.items()}


def _in_state(world: World, state: PopState) -> Pops:
    return tuple(edge.city for edge in world.plan.edges if world.told(edge.city) is state)


def _override(world: World, city: str) -> str | None:
    """The PoP that a city is sent to by hand, if it can get there."""
    pop = world.overrides.get(city)
    if pop is None or world.pop_state(pop) is PopState.WITHDRAWN:
        return None
    return pop if nearest(world, (pop,))[city] else None


def _first(pop: str | None, ranked: Pops) -> Pops:
    return ranked if pop is None else (pop, *(other for other in ranked if other != pop))
