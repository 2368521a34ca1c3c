"""Why a city goes where it goes: what the policy thought of every PoP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.core import routing
from controller.core.events import PopState
from controller.core.steering import rank
from controller.core.steering.bgp import routes, rule
from controller.core.steering.nearest import costs
from controller.core.steering.ranking import Pops
from controller.core.world import World
from topologies.model import Policy

Reasons = Mapping[str, str]
"""By PoP: what counts for it or against it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A PoP as one city sees it.

    ``place`` counts from 1 in the city's ranking, None if the PoP is not used; ``delay_ns`` is one
    way from the city's transit switch to the PoP, None if there is no way.
    """

    pop: str
    place: int | None
    delay_ns: int | None
    reason: str


def why(world: World, city: str) -> tuple[Choice, ...]:
    """Every PoP as a city sees it: the ranked ones in their order, then those it does not use.

    Raises KeyError for a city that there is not.
    """
    transit = world.plan.transit(city).name
    pops = tuple(edge.city for edge in world.plan.edges)
    ranked = rank(world)[city]
    delays = {pop: cost.get(transit) for pop in pops for cost in [costs(world, pop)]}
    reasons = _REASONS[world.policy](world, city, pops)

    def choice(pop: str) -> Choice:
        cost = delays[pop]
        place = ranked.index(pop) + 1 if pop in ranked else None
        delay_ns = None if cost is None else cost // routing.DELAY
        said = "out of reach" if cost is None else reasons[pop]
        return Choice(pop, place, delay_ns, _reason(world, city, pop, said))

    return tuple(map(choice, (*ranked, *(pop for pop in pops if pop not in ranked))))


def _reason(world: World, city: str, pop: str, said: str) -> str:
    """What people want of a PoP comes before what the policy says."""
    if world.pop_state(pop) is not PopState.ANNOUNCED:
        return f"{world.pop_state(pop).value}; {said}"
    if world.told(pop) is PopState.DRAINED:
        return f"no server serves there; {said}"
    if city in world.held and pop in world.held[city][:1]:
        return f"{city} has not heard of the last changes; {said}"
    if world.overrides.get(city) == pop:
        return f"{city} is sent here by hand; {said}"
    return said


def _nearest(world: World, city: str, pops: Pops) -> Reasons:
    return dict.fromkeys(pops, "by its delay")


def _bgp(world: World, city: str, pops: Pops) -> Reasons:
    announced = tuple(pop for pop in pops if world.told(pop) is PopState.ANNOUNCED)
    found = dict.fromkeys(pops, "no network tells of it here")
    known = routes(world, announced)[city]
    for route in reversed(known):
        from_whom = f"from a {route.heard_from.name.lower()}"
        if len(route.path) == route.path.count(route.path[-1]):
            from_whom = "its own customer"
        inside = f", {route.exit_ns / 1e6:g} ms inside" if route.inside else ""
        behind = "" if route.pop == known[0].pop else f"; behind by {rule(known[0], route)}"
        found[route.pop] = f"{from_whom}, AS path {' '.join(route.path)}{inside}{behind}"
    return found


def _regional(world: World, city: str, pops: Pops) -> Reasons:
    region = {x.code: x.region for x in world.plan.network.cities}
    return {
        pop: f"in {region[pop] or 'no region'}, {city} is in {region[city] or 'no region'}"
        for pop in pops
    }


def _weighted(world: World, city: str, pops: Pops) -> Reasons:
    total = sum(map(world.share, pops))
    return {pop: f"has {world.share(pop)} of {total} shares" for pop in pops}


def _capacity(world: World, city: str, pops: Pops) -> Reasons:
    return {
        pop: f"{city} was shed from it" if (city, pop) in world.shed else "by its delay"
        for pop in pops
    }


_REASONS: Mapping[Policy, Callable[[World, str, Pops], Reasons]] = {
    Policy.NEAREST: _nearest,
    Policy.BGP: _bgp,
    Policy.REGIONAL: _regional,
    Policy.WEIGHTED: _weighted,
    Policy.CAPACITY: _capacity,
}
