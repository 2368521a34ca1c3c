"""Policy bgp: what the Internet's own routing would choose.

Every city is a router, the cities of one operator are one autonomous system, and we are a customer
of the network of each city that has a PoP. Routes are told and chosen as Gao and Rexford describe
it ("Stable Internet routing without global coordination", 2001) and RFC 4271 section 9.1 decides:

1. local preference: a customer's route, then a peer's, then a provider's,
2. the shorter AS path, in which a PoP may name us several times (prepending),
3. a route from outside before one from our own routers,
4. hot potato: the nearest way out of the own network,
5. the neighbour, then the PoP, with the lower number.

A customer's route is told to everybody, any other to customers only, so paths are valley-free.
The model chooses PoPs; packets then go to the chosen one by the shortest way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from controller.core.steering.ranking import Pops, Ranking
from controller.core.world import World
from topologies import shortest
from topologies.business import Neighbour, neighbours
from topologies.model import Scope

OURS = "(us)"
"""Our own name in AS paths; no operator can be called so."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A way to a PoP as one router knows it; the least is the best.

    Two are equal only if their paths are too, since routers tell each other of a new path even
    where it ranks as the old one did. ``path`` names the networks on the way, the next first.
    ``exit_ns`` is how far the router is from where the route comes in, ``inside`` whether that is
    another router of its own network.
    """

    heard_from: Neighbour
    hops: int
    inside: bool
    exit_ns: int
    neighbour: int
    number: int
    pop: str
    path: tuple[str, ...]
    scope: Scope = field(compare=False, default=Scope.ALL)


class Session(NamedTuple):
    """A router tells one of another network; ``is_to`` is what it is to the hearer."""

    teller: str
    hearer: str
    is_to: Neighbour


RULES = {
    "heard_from": "local preference",
    "hops": "a shorter AS path",
    "inside": "a route from outside",
    "exit_ns": "a nearer exit",
    "neighbour": "the neighbour's number",
    "number": "the PoP's number",
}
"""What is compared, in this order, by the field that holds it."""


def rule(better: Route, worse: Route) -> str:
    """By which rule one route is taken rather than another."""
    return next(
        said for name, said in RULES.items() if getattr(better, name) != getattr(worse, name)
    )


Told = dict[str, list[Route]]
"""By city: the routes that it is told from outside of its network, or knows of its own PoP."""


def bgp(world: World, pops: Pops) -> Ranking:
    """Rank each city's chosen PoP first, then those that its network was told of, best first.

    A city that no valley-free path reaches has none.
    """
    return {
        city: unique(route.pop for route in known) for city, known in routes(world, pops).items()
    }


def unique(pops: Iterable[str]) -> Pops:
    """Every PoP once, in the order in which it comes first."""
    return tuple(dict.fromkeys(pops))


def routes(world: World, pops: Pops) -> Mapping[str, tuple[Route, ...]]:
    """Every city's routes when BGP has come to rest, the chosen one first.

    It does come to rest, since nobody is its own provider (``topologies.validate``); the number of
    rounds is bounded all the same.
    """
    internet = _Internet(world)
    return internet.at_rest(_announced(world, internet, pops))


def ways(world: World, pops: Pops) -> Mapping[str, tuple[str, ...]]:
    """By city, itself first: the cities that its packets pass on the way to some PoP.

    Empty where no route leads. Every router on the way goes by its own route.
    """
    internet = _Internet(world)
    return internet.ways(internet.at_rest(_announced(world, internet, pops)))


def ways_home(world: World, city: str, *, pop: bool = False) -> Mapping[str, tuple[str, ...]]:
    """The same to the hosts of one city, or of its PoP: what is nobody else's."""
    internet = _Internet(world)
    us = Route(Neighbour.CUSTOMER, 1, False, 0, 0, 0, city, (OURS,))
    if pop and not world.is_up(internet.uplinks[city]):
        return internet.ways(dict.fromkeys(internet.network, ()))
    return internet.ways(internet.at_rest({city: us if pop else replace(us, hops=0, path=())}))


def _announced(world: World, internet: _Internet, pops: Pops) -> dict[str, Route]:
    return {pop: _own(world, pop) for pop in pops if world.is_up(internet.uplinks[pop])}


def _own(world: World, pop: str) -> Route:
    """The route that a PoP tells the network of its city."""
    path = (OURS,) * (1 + world.prepend(pop))
    number = world.plan.edge(pop).number
    return Route(Neighbour.CUSTOMER, len(path), False, 0, 0, number, pop, path, world.scope(pop))


class _Internet:
    """Who talks to whom over the links that are up."""

    def __init__(self, world: World) -> None:
        plan, network = world.plan, world.plan.network
        self.network = {city.code: city.network for city in network.cities}
        self.number = {transit.city: transit.number for transit in plan.transits}
        self.cities = {transit.number: transit.city for transit in plan.transits}
        self.uplinks = {
            edge.city: plan.link_between(edge.name, plan.transit(edge.city).name)
            for edge in plan.edges
        }
        self.sessions: list[Session] = []
        self.inside: dict[str, dict[str, int]] = {city: {} for city in self.network}
        inside = self.inside
        # The links between cities come first in a plan, in the network's order.
        for link, planned, kinds in zip(
            network.links, plan.links, neighbours(network), strict=False
        ):
            if not world.is_up(planned):
                continue
            if kinds is None:
                delay_ns = min(world.delay_ns(planned), inside[link.a].get(link.b, 1 << 62))
                inside[link.a][link.b] = inside[link.b][link.a] = delay_ns
            else:
                b_to_a, a_to_b = kinds
                self.sessions.append(Session(link.b, link.a, b_to_a))
                self.sessions.append(Session(link.a, link.b, a_to_b))
        self.near = {city: shortest.costs(inside, city) for city in inside}
        """How far every city is from those of its own network, inside it, in ns."""

    def at_rest(self, own: Mapping[str, Route]) -> Mapping[str, tuple[Route, ...]]:
        """Each router's routes when all have heard of these, and nobody has anything to say."""
        known = self.chosen(own, {})
        for _ in range(4 * len(known) + 4):
            before, known = known, self.chosen(own, known)
            if known == before:
                break
        return known

    def ways(self, known: Mapping[str, tuple[Route, ...]]) -> dict[str, tuple[str, ...]]:
        """By city, itself first: the cities on the way of its packets."""
        return {city: tuple(self._way(city, known)) for city in self.network}

    def _way(self, city: str, known: Mapping[str, tuple[Route, ...]]) -> Iterator[str]:
        while known[city]:
            yield city
            route = known[city][0]
            if not route.neighbour:  # its own
                return
            told_by = self.cities[route.neighbour]
            city = shortest.path(self.inside, city, told_by)[1] if route.inside else told_by

    def chosen(
        self, own: Mapping[str, Route], known: Mapping[str, tuple[Route, ...]]
    ) -> dict[str, tuple[Route, ...]]:
        """Each router's routes, best first, once all have heard what the others chose before."""
        told: Told = {city: [own[city]] if city in own else [] for city in self.network}
        for session in self.sessions:
            if known.get(session.teller):
                told[session.hearer] += self._tell(session, known[session.teller][0])
        return {city: tuple(sorted(self._offered(city, told))) for city in self.network}

    def _tell(self, session: Session, route: Route) -> Iterator[Route]:
        """A router's chosen route as a neighbour hears it, if it is told at all."""
        teller, hearer = self.network[session.teller], self.network[session.hearer]
        to_customer = session.is_to is Neighbour.PROVIDER
        may = to_customer or route.heard_from is Neighbour.CUSTOMER
        if set(route.path) == {OURS}:  # the PoP's own network keeps to what the PoP asked for
            may = route.scope is Scope.ALL or (route.scope is Scope.CUSTOMERS and to_customer)
        if may and hearer not in route.path:
            path = (teller, *route.path)
            neighbour = self.number[session.teller]
            yield Route(
                session.is_to, len(path), False, 0, neighbour, route.number, route.pop, path
            )

    def _offered(self, city: str, told: Told) -> Iterator[Route]:
        """What a router may choose from: what it is told, and what its own network's tell it.

        Those tell what they would choose if they were alone.
        """
        yield from told[city]
        for other, exit_ns in self.near[city].items():
            if other != city and told[other]:
                best = min(told[other])
                yield replace(best, inside=True, exit_ns=exit_ns, neighbour=self.number[other])
