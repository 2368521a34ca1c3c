"""The world: everything that the switches' rules depend on, and how events change it.

A world is a value. ``world.after(event)`` is the next one; the same events in the same order give
equal worlds, and what was undone leaves no trace. Nothing here knows of time, switches or stores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, TypeVar

from immutables import Map

from controller.core.events import (
    BalancingSet,
    CityConverged,
    CityHeld,
    CityMoved,
    CitySettled,
    Event,
    HealthSeen,
    HealthSet,
    LeaseChanged,
    MetricSet,
    OverrideSet,
    PolicySet,
    PopSet,
    PopSettled,
    PopState,
    PortStatus,
    PrependSet,
    ScopeSet,
    ServiceSet,
    ShareSet,
    ShedSet,
    WeightSet,
)
from controller.core.lease import Lease, LeaseState
from topologies.model import MAX_PREPEND, MAX_WEIGHT, Balancing, Policy, Pop, Scope
from topologies.plan import HostRole, LinkKind, LinkPlan, Plan, SwitchRole

FABRIC = frozenset({LinkKind.TRANSIT, LinkKind.UPLINK, LinkKind.BACKBONE})
"""The links between switches."""

USUAL_WEIGHT = 1

MOST_FORMER = 4
"""So many changes back, connections are still looked for where they may be."""


K = TypeVar("K")
V = TypeVar("V")


class UnknownError(ValueError):
    """An event speaks of something that the network does not have, or asks what cannot be."""


@dataclass(frozen=True, slots=True)
class Home:
    """The PoP where an address is at home, and the first ports of its sets that are taken.

    A set is taken until it is free again, so quarantine keeps the home too.
    """

    pop: str
    taken: frozenset[int]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a PoP spreads new flows: the scheme, and the weights of those that serve, in order."""

    scheme: Balancing
    weights: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class World:
    """What is true now. Whatever is as planned stands in none of the maps.

    ``chosen`` is a policy in place of the network's own, ``overrides`` the PoP of a city, ``pops``
    the state of a PoP, ``shares`` its weight, ``prepends`` and ``scopes`` what BGP tells of it;
    ``shed`` are cities and the PoPs that they were moved off, ``withheld`` service addresses and
    the PoPs that do not announce them. ``scheme`` and ``chance`` are
    balancing in place of the network's own; ``former`` is how a PoP spread flows before, and
    ``trails`` the PoPs that served a city before, the last first; ``held`` is the ranking of a
    city that has not heard of the last changes. ``weights`` are servers',
    ``metrics`` a link's delay in ns, by its number; ``sick`` are servers by somebody's word,
    ``silent`` by the controller's checks, ``down`` ports
    (switch and number). ``leases`` are the live ones, by address and first port, ``homes`` the
    addresses that have a home.
    """

    plan: Plan
    chosen: Policy | None = None
    overrides: Map[str, str] = Map()
    pops: Map[str, PopState] = Map()
    shares: Map[str, int] = Map()
    prepends: Map[str, int] = Map()
    scopes: Map[str, Scope] = Map()
    shed: frozenset[tuple[str, str]] = frozenset()
    withheld: frozenset[tuple[IPv4Address, str]] = frozenset()
    scheme: Balancing | None = None
    chance: bool | None = None
    former: Map[str, tuple[Spread, ...]] = Map()
    trails: Map[str, tuple[str, ...]] = Map()
    held: Map[str, tuple[str, ...]] = Map()
    weights: Map[str, int] = Map()
    sick: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    down: frozenset[tuple[str, int]] = frozenset()
    metrics: Map[int, int] = Map()
    leases: Map[tuple[IPv4Address, int], Lease] = Map()
    homes: Map[IPv4Address, Home] = Map()

    @classmethod
    def lent(cls, plan: Plan, entries: Iterable[Lease]) -> World:
        """As planned, with what a lease book holds at this moment."""
        return cls(plan).after(*map(LeaseChanged, entries))

    # -- questions

    def home(self, address: IPv4Address) -> str | None:
        """An address's home PoP; None while all its port sets are free."""
        found = self.homes.get(address)
        return None if found is None else found.pop

    @property
    def policy(self) -> Policy:
        """How cities choose their PoP."""
        return self.chosen or self.plan.network.steering

    @property
    def steered_by(self) -> tuple[object, ...]:
        """All that steering looks at, but for the links' delays and the ports."""
        shares = (self.shares, self.prepends, self.scopes, self.shed)
        told = tuple(self.told(edge.city) for edge in self.plan.edges)
        return (self.policy, self.overrides, told, *shares, self.held, self.withheld)

    def told(self, pop: str) -> PopState:
        """What the world hears of a PoP: an announced one is drained while nobody serves there."""
        state = self.pop_state(pop)
        if state is PopState.ANNOUNCED and not self.spread(pop).weights:
            return PopState.DRAINED
        return state

    def share(self, pop: str) -> int:
        """A PoP's weight under policy weighted."""
        return self.shares.get(pop, self.planned(pop).weight)

    def prepend(self, pop: str) -> int:
        """How often a PoP's announcements name us once more."""
        return self.prepends.get(pop, self.planned(pop).prepend)

    def scope(self, pop: str) -> Scope:
        """How far a PoP's announcements go."""
        return self.scopes.get(pop, self.planned(pop).scope)

    def planned(self, pop: str) -> Pop:
        """A PoP as the network has it."""
        return self.plan.network.pops[self.plan.edge(pop).number - 1]

    def pop_state(self, pop: str) -> PopState:
        """What a PoP tells the world."""
        return self.pops.get(pop, PopState.ANNOUNCED)

    def is_up(self, link: LinkPlan) -> bool:
        """Whether both ends of a link have a carrier, as far as switches can tell."""
        return not any((end.node, end.port) in self.down for end in (link.a, link.b))

    def delay_ns(self, link: LinkPlan) -> int:
        """How long routes take a link to be, one way."""
        return self.metrics.get(link.number, link.line.delay_ns)

    def is_well(self, server: str) -> bool:
        """Whether a server is neither sick nor silent nor cut off."""
        (cable,) = self.plan.links_of(server)
        return server not in self.sick | self.silent and self.is_up(cable)

    def weight(self, server: str) -> int:
        """A server's share of its PoP's new connections: 0 for one that is sick or cut off."""
        return self.weights.get(server, USUAL_WEIGHT) if self.is_well(server) else 0

    @property
    def balancing(self) -> Balancing:
        """How PoPs spread flows over their servers."""
        return self.scheme or self.plan.network.balancing

    @property
    def second_chance(self) -> bool:
        """Whether servers hand on what belongs to connections that they do not know."""
        wanted = self.plan.network.second_chance if self.chance is None else self.chance
        return wanted and self.balancing is not Balancing.GROUP

    def spread(self, pop: str) -> Spread:
        """How a PoP spreads new flows."""
        servers = self.plan.servers_of(pop)
        weights = ((server.name, self.weight(server.name)) for server in servers)
        return Spread(self.balancing, tuple(pair for pair in weights if pair[1]))

    # -- events

    def after(self, *events: Event) -> World:
        """The world when these have happened, one after the other. Raises UnknownError."""
        world = self
        for event in events:
            changed = replace(world, **world._changed(event))
            former = world._former(changed, event)
            world = changed if former is changed.former else replace(changed, former=former)
        return world

    def _former(self, after: World, event: Event) -> Map[str, tuple[Spread, ...]]:
        """How PoPs spread flows before, once an event has made another world of this one."""
        former = after.former
        if not after.second_chance:
            return Map()
        for pop in self._touched(event):
            before, now = self.spread(pop), after.spread(pop)
            if before != now:
                known = dict.fromkeys((before, *former.get(pop, ())))
                former = former.set(pop, tuple(x for x in known if x != now)[:MOST_FORMER])
        return former

    def _touched(self, event: Event) -> Iterable[str]:
        """The PoPs whose servers' shares an event may change."""
        match event:
            case WeightSet(server, _) | HealthSet(server, _) | HealthSeen(server, _):
                return (self.plan.host(server).city,)
            case PortStatus(switch, _, _):
                return (self.plan.switch(switch).city,) if self._is_edge(switch) else ()
            case BalancingSet():
                return tuple(edge.city for edge in self.plan.edges)
        return ()

    def _is_edge(self, switch: str) -> bool:
        return self.plan.switch(switch).role is SwitchRole.EDGE

    def _changed(self, event: Event) -> dict[str, Any]:
        """The fields that an event gives another value."""
        match event:
            case LeaseChanged(lease):
                return {
                    "leases": _put(self.leases, lease.key, lease if lease.live else None),
                    "homes": _put(self.homes, lease.address, self._home_with(lease)),
                }
            case PolicySet(policy):
                self._need_sdn(f"by {policy}", policy is Policy.BGP)
                return {"chosen": None if policy is self.plan.network.steering else policy}
            case OverrideSet(city, pop):
                self._need_city(city)
                if pop is not None:
                    self._need_pop(pop)
                self._need_sdn("by hand", pop is None)
                return {"overrides": _put(self.overrides, city, pop)}
            case PopSet(pop, state):
                self._need_pop(pop)
                return {"pops": _put(self.pops, pop, state, PopState.ANNOUNCED)}
            case ServiceSet(service, pop, announced):
                self._need("service address", service, set(self.plan.network.services))
                self._need_pop(pop)
                which = {(service, pop)}
                return {"withheld": self.withheld - which if announced else self.withheld | which}
            case ShareSet(pop, weight):
                self._need_pop(pop)
                _need_within("a weight", weight, MAX_WEIGHT)
                return {"shares": _put(self.shares, pop, weight, self.planned(pop).weight)}
            case PrependSet(pop, times):
                self._need_pop(pop)
                _need_within("a number of times", times, MAX_PREPEND)
                return {"prepends": _put(self.prepends, pop, times, self.planned(pop).prepend)}
            case ScopeSet(pop, scope):
                self._need_pop(pop)
                return {"scopes": _put(self.scopes, pop, scope, self.planned(pop).scope)}
            case ShedSet(city, pop, shed):
                self._need_city(city)
                self._need_pop(pop)
                here = {(city, pop)}
                return {"shed": self.shed | here if shed else self.shed - here}
            case CityMoved(city, pop):
                self._need_city(city)
                self._need_pop(pop)
                known = (pop, *(x for x in self.trails.get(city, ()) if x != pop))
                return {"trails": self.trails.set(city, known[:MOST_FORMER])}
            case CityHeld(city, pops):
                self._need_city(city)
                for pop in pops:
                    self._need_pop(pop)
                return {"held": self.held.set(city, pops)}
            case CityConverged(city):
                self._need_city(city)
                return {"held": _put(self.held, city, None)}
            case CitySettled(city):
                self._need_city(city)
                return {"trails": _put(self.trails, city, None)}
            case PopSettled(pop):
                self._need_pop(pop)
                return {"former": _put(self.former, pop, None)}
            case BalancingSet(scheme, chance):
                network = self.plan.network
                return {
                    "scheme": None if scheme is network.balancing else scheme,
                    "chance": None if chance is network.second_chance else chance,
                }
            case WeightSet(server, weight):
                self._need_server(server)
                _need_within("a weight", weight, MAX_WEIGHT)
                return {"weights": _put(self.weights, server, weight, USUAL_WEIGHT)}
            case HealthSet(server, healthy):
                self._need_server(server)
                return {"sick": self.sick - {server} if healthy else self.sick | {server}}
            case HealthSeen(server, answers):
                self._need_server(server)
                one = {server}
                return {"silent": self.silent - one if answers else self.silent | one}
            case PortStatus(switch, port, up):
                self._need("port", port, self._ports(switch))
                at = {(switch, port)}
                return {"down": self.down - at if up else self.down | at}
            case MetricSet(number, delay_ns):
                fabric = {link.number for link in self.plan.links if link.kind in FABRIC}
                self._need("link between switches", number, fabric)
                if delay_ns is not None and delay_ns < 0:
                    raise UnknownError(f"a link is not {delay_ns} ns long")
                return {"metrics": _put(self.metrics, number, delay_ns)}

    def _home_with(self, lease: Lease) -> Home | None:
        """The home of a lease's address, when the lease stands so."""
        before, here = self.homes.get(lease.address), frozenset({lease.first_port})
        taken = before.taken if before else frozenset()
        taken = taken - here if lease.state is LeaseState.FREE else taken | here
        return Home(lease.home, taken) if taken else None

    def _need_sdn(self, how: str, otherwise: bool) -> None:
        """Routers of other networks decide for themselves."""
        if self.plan.routers and not otherwise:
            name = self.plan.network.name
            raise UnknownError(f"{name} has upstream bgp: nobody steers its cities {how}")

    def _need_city(self, city: str) -> None:
        self._need("city", city, {transit.city for transit in self.plan.transits})

    def _need_pop(self, pop: str) -> None:
        self._need("PoP", pop, {edge.city for edge in self.plan.edges})

    def _need_server(self, server: str) -> None:
        self._need("server", server, {s.name for s in self.plan.hosts_of(HostRole.SERVER)})

    def _ports(self, switch: str) -> set[int | None]:
        self._need("switch", switch, {switch.name for switch in self.plan.switches})
        return {link.near(switch).port for link in self.plan.links_of(switch)}

    def _need(self, what: str, name: object, known: set[Any]) -> None:
        if name not in known:
            some = ", ".join(sorted(map(str, known))[:12])
            raise UnknownError(f"{self.plan.network.name} has no {what} {name}; it has {some}")


def _need_within(what: str, number: int, most: int) -> None:
    if not 0 <= number <= most:
        raise UnknownError(f"{what} is from 0 to {most}, not {number}")


def _put(where: Map[K, V], key: K, value: V | None, usual: V | None = None) -> Map[K, V]:
    """A map with this value, or without the key for None and for what is usual."""
    if value is None or value == usual:
        return where.delete(key) if key in where else where
    return where.set(key, value)
