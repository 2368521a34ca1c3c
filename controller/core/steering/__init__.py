"""Steering: which PoP serves which city.

A policy is a pure function that ranks some PoPs for every city, best first. What people want
besides (an override, a PoP that is drained or withdrawn) is applied to whatever the policy says.
The best one gets the city's traffic; the others are there for failures to fall back on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from controller.core.events import PopState
from controller.core.steering.bgp import bgp
from controller.core.steering.capacity import capacity
from controller.core.steering.nearest import nearby, nearest
from controller.core.steering.ranking import Pops, Ranking
from controller.core.steering.regional import regional
from controller.core.steering.weighted import weighted
from controller.core.world import World
from topologies.model import Policy

__all__ = ["POLICIES", "Ranking", "Steering", "nearby", "nearest", "rank"]

POLICIES: Mapping[Policy, Callable[[World, Pops], Ranking]] = {
    Policy.NEAREST: nearest,
    Policy.BGP: bgp,
    Policy.REGIONAL: regional,
    Policy.WEIGHTED: weighted,
    Policy.CAPACITY: capacity,
}


@dataclass(frozen=True, slots=True)
class Steering:
    """The ranking of all anycast addresses, and those of services that not every PoP announces."""

    usual: Ranking
    apart: Mapping[IPv4Address, Ranking]

    @classmethod
    def of(cls, world: World) -> Steering:
        """That of a world."""
        without: dict[IPv4Address, frozenset[str]] = {}
        for service, pop in world.withheld:
            without[service] = without.get(service, frozenset()) | {pop}
        apart = {service: rank(world, pops) for service, pops in sorted(without.items())}
        return cls(rank(world), apart)

    def at(self, city: str) -> tuple[Pops, ...]:
        """All that steers one city."""
        return (self.usual[city], *(ranking[city] for ranking in self.apart.values()))


def rank(world: World, without: frozenset[str] = frozenset()) -> Ranking:
    """Every city's PoPs by the world's policy, its overrides and the states of its PoPs.

    PoPs in ``without`` are taken for withdrawn.

    A city that has not heard of the last changes keeps its ranking, right or wrong.

    Withdrawn PoPs are left out, drained ones come last, and with them those without a serving
    server (RFC 4786 section 4.4.1: announce only what can be served). An override comes first,
    drained or not, where its PoP is announced at all and can be reached.
    """
    policy = POLICIES[world.policy]
    announced = policy(world, _in_state(world, PopState.ANNOUNCED, without))
    # A PoP asks BGP for traffic or does not.
    last = () if world.plan.routers else _in_state(world, PopState.DRAINED, without)
    drained = policy(world, last)
    heard = {city: (*announced[city], *drained[city]) for city in announced} | dict(world.held)
    return {city: _first(_override(world, city, without), ranked) for city, ranked in heard.items()}


def _in_state(world: World, state: PopState, without: frozenset[str]) -> Pops:
    pops = (edge.city for edge in world.plan.edges if edge.city not in without)
    return tuple(pop for pop in pops if world.told(pop) is state)


def _override(world: World, city: str, without: frozenset[str]) -> str | None:
    """The PoP that a city is sent to by hand, if it can get there."""
    pop = world.overrides.get(city)
    if pop is None or pop in without or world.pop_state(pop) is PopState.WITHDRAWN:
        return None
    return pop if nearest(world, (pop,))[city] else None


def _first(pop: str | None, ranked: Pops) -> Pops:
    return ranked if pop is None else (pop, *(other for other in ranked if other != pop))
