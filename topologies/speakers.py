"""BGP speakers: which router talks to whom, and what it tells, in the words of FRR.

A network whose upstream is BGP has a router for every city; the cities of one operator are one
autonomous system. Each PoP has a speaker, a customer of its city. Links say who pays whom
(``topologies.business``). Local preference and export follow Gao and Rexford ("Stable Internet
routing without global coordination", 2001), and every tie is broken as the policy ``bgp`` does
(``docs/steering/bgp.md``), so that the two can be held against each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from topologies import shortest
from topologies.business import Neighbour, neighbours
from topologies.model import Scope, Timers
from topologies.plan import LinkKind, LinkPlan, Plan, SwitchPlan, SwitchRole, speaker_name

US = 64500
"""The number of the autonomous system of all PoPs (RFC 5398: for documentation)."""

NETWORKS = 4_200_000_000
"""Those of the operators follow this one (RFC 6996: for private use)."""

POP_IDS, CITY_IDS = IPv4Address("100.126.0.0"), IPv4Address("100.127.0.0")
"""Router identifiers are these plus a number: of two equal routes that of a PoP is taken, then that
of the city that the network names first."""

PREFERENCE = {Neighbour.CUSTOMER: 300, Neighbour.PEER: 200, Neighbour.PROVIDER: 100}
"""Local preference (RFC 4271 section 5.1.5)."""

_CUSTOMERS_ONLY = f"{US}:1"
_HEARD_FROM = {kind: f"{US}:{100 + kind}" for kind in Neighbour}
_NS_PER_METRIC = 1000
_BFD = "every"
"""The name of the profile."""


@dataclass(frozen=True, slots=True)
class Session:
    """Two speakers talk: from ``local`` to ``peer``, whose network is ``asn``.

    ``identifier`` is the peer's; ``kind`` is what it is to us, None within a network.
    """

    local: IPv4Address
    peer: IPv4Address
    asn: int
    identifier: IPv4Address
    kind: Neighbour | None


@dataclass(frozen=True, slots=True)
class Speaker:
    """One router, by the name that it has in the plan; ``pop`` is the number of a PoP's, else 0.

    ``own`` are the addresses of the hosts behind it, which it always announces.
    """

    name: str
    asn: int
    identifier: IPv4Address
    own: IPv4Network
    sessions: tuple[Session, ...]
    pop: int = 0


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a PoP tells its city of the prefixes that it shares with others."""

    prefixes: tuple[IPv4Network, ...] = ()
    prepend: int = 0
    scope: Scope = Scope.ALL


@dataclass(frozen=True, slots=True)
class Way:
    """To another router of the own network: over a link to the next one, and how far it is."""

    link: int
    next: str
    metric: int


def speakers(plan: Plan) -> tuple[Speaker, ...]:
    """Every city's router in the network's order, then every PoP's speaker."""
    asn = numbers(plan)
    found: defaultdict[str, list[Session]] = defaultdict(list)
    for link, kinds in _between(plan):
        here, there = link.addresses
        a, b = link.a.node, link.b.node
        b_is, a_is = kinds
        found[a].append(Session(here, there, asn[b], identifier(plan, b), b_is))
        found[b].append(Session(there, here, asn[a], identifier(plan, a), a_is))
    for router, ways in internal(plan, plan.links).items():
        here = identifier(plan, router)
        for other in ways:
            there = identifier(plan, other)
            found[router].append(Session(here, there, asn[other], there, None))
    return tuple(
        Speaker(
            name_of(switch),
            asn[switch.name],
            identifier(plan, switch.name),
            switch.prefix,
            tuple(found[switch.name]),
            switch.number if switch.role is SwitchRole.EDGE else 0,
        )
        for switch in (*plan.transits, *plan.edges)
    )


def name_of(switch: SwitchPlan) -> str:
    """Who speaks for a city or a PoP: the city's router, or a host of the PoP."""
    return speaker_name(switch.city) if switch.role is SwitchRole.EDGE else switch.name


def numbers(plan: Plan) -> dict[str, int]:
    """By city's router and PoP's edge: the number of its autonomous system."""
    of = {city.code: city.network for city in plan.network.cities}
    network = {name: NETWORKS + n for n, name in enumerate(dict.fromkeys(of.values()), 1)}
    cities = {transit.name: network[of[transit.city]] for transit in plan.transits}
    return cities | {edge.name: US for edge in plan.edges}


def identifier(plan: Plan, name: str) -> IPv4Address:
    """The router identifier of a city's router, which has it as an address too, or of a PoP."""
    switch = plan.switch(name)
    return (POP_IDS if switch.role is SwitchRole.EDGE else CITY_IDS) + switch.number


def internal(plan: Plan, up: Iterable[LinkPlan]) -> dict[str, dict[str, Way]]:
    """By router: the way to each other router of its network, over links of the network alone.

    It stands in for an interior gateway protocol that converges at once: nearest by delay.
    """
    graph: dict[str, dict[str, int]] = {transit.name: {} for transit in plan.transits}
    links = {}
    alive = set(up)
    for link, kinds in zip(plan.links, neighbours(plan.network), strict=False):
        if kinds is None and link in alive:
            a, b = link.a.node, link.b.node
            graph[a][b] = graph[b][a] = link.line.delay_ns
            links[a, b] = links[b, a] = link.number
    found: dict[str, dict[str, Way]] = {}
    for router in graph:
        near = shortest.costs(graph, router)
        found[router] = {
            other: Way(links[router, step], step, 1 + delay_ns // _NS_PER_METRIC)
            for other, delay_ns in near.items()
            if other != router and (step := shortest.path(graph, router, other)[1])
        }
    return found


def _between(plan: Plan) -> Iterator[tuple[LinkPlan, tuple[Neighbour, Neighbour]]]:
    """Links between networks: what the far end is to end a, and to end b."""
    for link, kinds in zip(plan.links, neighbours(plan.network), strict=False):
        if kinds is not None:
            yield link, kinds
    for link in plan.links:
        if link.kind is LinkKind.UPLINK:  # from the PoP to its city
            yield link, (Neighbour.PROVIDER, Neighbour.CUSTOMER)


# -- in the words of FRR


def configuration(
    speaker: Speaker, told: Announcement, timers: Timers, *, bfd: bool = False
) -> str:
    """The file that bgpd reads (FRR's user guide, chapter BGP)."""
    lines = (*_policies(speaker, told), *_router(speaker, told, timers, bfd))
    return "\n".join(("frr defaults traditional", f"hostname {speaker.name}", *lines)) + "\n"


def bfd(every_ns: int) -> str:
    """The file that bfdd reads: three in a row may be lost (RFC 5880 section 6.8.4)."""
    every_ms = every_ns // 10**6
    return (
        f"bfd\n profile {_BFD}\n  transmit-interval {every_ms}\n  receive-interval {every_ms}\n"
        "  detect-multiplier 3\n"
    )


def watched(peer: IPv4Address, on: bool) -> tuple[str, ...]:
    """The words that have a neighbour watched by BFD, or no more."""
    if on:
        return (f"neighbor {peer} bfd", f"neighbor {peer} bfd profile {_BFD}")
    return (f"no neighbor {peer} bfd",)


def changed(before: Announcement, now: Announcement) -> tuple[str, ...]:
    """The words that have a PoP's speaker announce otherwise, once they are all said."""
    prefixes = [
        *(f"no network {prefix}" for prefix in before.prefixes if prefix not in now.prefixes),
        *(f"network {prefix}" for prefix in now.prefixes if prefix not in before.prefixes),
    ]
    policy = ["no set community", "no set as-path prepend", *_asked_for(now)]
    return (
        "configure terminal",
        *("route-map TO-PROVIDER permit 10", *(word.strip() for word in policy), "exit"),
        *(f"router bgp {US}", "address-family ipv4 unicast", *prefixes, "exit-address-family"),
        *("end", "clear bgp ipv4 unicast * soft out"),
    )


def _router(speaker: Speaker, told: Announcement, timers: Timers, bfd: bool) -> Iterator[str]:
    yield f"router bgp {speaker.asn}"
    yield f" bgp router-id {speaker.identifier}"
    yield " bgp bestpath compare-routerid"  # else the oldest route wins a tie
    yield " bgp route-map delay-timer 0"
    yield " no bgp network import-check"
    yield f" timers bgp {timers.keepalive_s} {timers.hold_s}"
    for session in speaker.sessions:
        peer = f" neighbor {session.peer}"
        yield f"{peer} remote-as {session.asn}"
        yield f"{peer} timers connect 1"
        if speaker.identifier < session.identifier:
            # Who call each other at the same moment hang up on each other (RFC 4271 section 6.8),
            # in virtual time for ever.
            yield f"{peer} passive"
        if session.kind is None:
            yield f"{peer} update-source {session.local}"
        else:
            yield f"{peer} advertisement-interval {timers.advertisement_s}"
            yield from watched(session.peer, True) if bfd else ()
    yield " address-family ipv4 unicast"
    yield "  maximum-paths 1"
    yield "  maximum-paths ibgp 1"
    yield f"  network {speaker.own} route-map OWN"
    for prefix in told.prefixes:
        yield f"  network {prefix}"
    for session in speaker.sessions:
        peer = f"  neighbor {session.peer}"
        if session.kind is None:
            yield f"{peer} next-hop-self"
        else:
            yield f"{peer} route-map FROM-{session.kind.name} in"
            yield f"{peer} route-map TO-{_audience(session, session.kind)} out"
    yield " exit-address-family"


def _audience(session: Session, kind: Neighbour) -> str:
    """Who is told what: a PoP nothing, it has its way out."""
    return "POP" if session.asn == US else kind.name


def _policies(speaker: Speaker, told: Announcement) -> Iterator[str]:
    """Route maps: what is taken from whom, and what is told to whom."""
    if speaker.pop:
        yield "route-map OWN permit 10"
        yield f"ip prefix-list OWN permit {speaker.own}"
        yield "route-map FROM-PROVIDER deny 10"
        yield "route-map TO-PROVIDER permit 5"
        yield " match ip address prefix-list OWN"
        yield "route-map TO-PROVIDER permit 10"
        yield f" set large-community {US}:0:{speaker.pop}"
        yield from _asked_for(told)
        return
    yield "route-map OWN permit 10"
    yield f" set community {_HEARD_FROM[Neighbour.CUSTOMER]}"
    yield f"bgp community-list standard CUSTOMERS-ONLY permit {_CUSTOMERS_ONLY}"
    yield "bgp community-list standard NOBODY permit no-export"
    yield f"bgp community-list standard OF-CUSTOMERS permit {_HEARD_FROM[Neighbour.CUSTOMER]}"
    yield "route-map FROM-CUSTOMER permit 10"
    yield " match community CUSTOMERS-ONLY"
    yield from _taken(Neighbour.CUSTOMER, _HEARD_FROM[Neighbour.PROVIDER])
    yield "route-map FROM-CUSTOMER permit 20"
    yield " match community NOBODY"
    yield from _taken(Neighbour.CUSTOMER, "no-export")
    for kind in Neighbour:
        yield f"route-map FROM-{kind.name} permit 30"
        yield from _taken(kind, _HEARD_FROM[kind])
    yield "route-map TO-CUSTOMER permit 10"
    for kind in (Neighbour.PEER, Neighbour.PROVIDER):
        yield f"route-map TO-{kind.name} permit 10"
        yield " match community OF-CUSTOMERS"
    yield "route-map TO-POP deny 10"


def _taken(kind: Neighbour, community: str) -> Iterator[str]:
    yield f" set local-preference {PREFERENCE[kind]}"
    yield f" set community {community}"


def _asked_for(told: Announcement) -> Iterator[str]:
    if told.scope is Scope.CUSTOMERS:
        yield f" set community {_CUSTOMERS_ONLY}"
    if told.scope is Scope.NOBODY:
        yield " set community no-export"
    if told.prepend:
        yield " set as-path prepend " + " ".join([str(US)] * told.prepend)
