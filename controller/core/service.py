"""The rules of an edge switch for service traffic: a slot for every flow, a server for every slot.

Connections survive when slots change hands, without any state in a switch. The packets of a slot
that had another server before are marked by a bit of their source MAC address; a server hands back
what belongs to no connection of its own (``topologies.emulation.second_chance``), and the switch
knows by the port and the slot who may have it: the server before that one. What nobody knows goes
to the server that has the slot, without the mark, to be refused. The same goes on from PoP to PoP
for a city that was served elsewhere before; a second bit tells what has come that way from what
came straight from its city, and was here when the city moved. The idea is that of Faild and Beamer
(both NSDI 2018); what differs is that the switch, not the server, knows the next.

All of this is for TCP. UDP to ports whose services keep flows apart has it within a PoP: between
PoPs the last one asked would get every new flow, for no first packet says that it is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

from controller.core import labels
from controller.core.balancing import chains, service_group, size
from controller.core.groups import SERVICE_GROUP
from controller.core.matching import (
    GATEWAY,
    ICMP,
    ICMP6,
    ICMP6_ERRORS,
    ICMP_ERRORS,
    TCP,
    UDP,
    destination,
    from_port,
    source,
)
from controller.core.priorities import (
    ADMIT_HANDED_BACK,
    BALANCE_ELSEWHERE,
    BALANCE_LAST,
    BALANCE_NEXT,
    BALANCE_SLOT,
    BALANCE_STRAIGHT,
    SERVICE_ADDRESS,
    SERVICE_ERROR,
    SERVICE_LATE,
    SERVICE_MOVED,
)
from controller.core.routing import Routes
from controller.core.rules import (
    Action,
    Duty,
    Entry,
    Hash,
    Output,
    Rule,
    SetBits,
    SetField,
    Table,
    ToGroup,
    cookie,
    mac,
    match,
)
from controller.core.steering import Ranking
from controller.core.world import World
from topologies.family import FAMILIES, Family
from topologies.plan import (
    HANDED_ON_BIT,
    HANDED_ON_MAC,
    SECOND_CHANCE_BIT,
    HostPlan,
    SwitchPlan,
)

SECOND_CHANCE, HANDED_ON = mac(SECOND_CHANCE_BIT), mac(HANDED_ON_BIT)
"""Bits of a source MAC address: to be handed back if unknown, and come from another PoP."""

HANDED_BACK = HANDED_ON << 1
"""Another one, for the tables of one switch: a server has handed it back."""

_BITS = SECOND_CHANCE | HANDED_ON | HANDED_BACK
_MARK = SetBits("eth_src", SECOND_CHANCE, SECOND_CHANCE)
_GONE_ON = SetBits("eth_src", HANDED_ON, _BITS)
_STRAIGHT = (HANDED_BACK, HANDED_BACK | HANDED_ON)

Elsewhere = Mapping[str, str]
"""By city: the PoP that may hold what this one does not know."""


def elsewhere(world: World, routes: Routes, ranking: Ranking, pop: str) -> Elsewhere:
    """Where a PoP sends on what it does not know, for cities that were served elsewhere before.

    The PoPs that a city had are asked in turn, the last first; those out of reach are passed over.
    """
    if not world.second_chance:
        return {}
    here = world.plan.edge(pop).name
    found = {}
    for city, trail in world.trails.items():
        asked = list(dict.fromkeys((*ranking.get(city, ())[:1], *trail)))
        after = asked[asked.index(pop) + 1 :] if pop in asked else []
        reached = [other for other in after if here in routes.labels[other].ports]
        if reached:
            found[city] = reached[0]
    return found


def left(world: World, routes: Routes, ranking: Ranking, pop: str) -> Elsewhere:
    """By city that has left a PoP: the one that serves it now.

    What was under way when the city left may be of a connection that this PoP never had, if the
    city went back to one that it had before. While PoPs announce different addresses nobody can say
    so of a city as a whole.
    """
    if not world.second_chance or world.withheld:
        return {}
    here = world.plan.edge(pop).name
    found = {}
    for city, trail in world.trails.items():
        now = next(iter(ranking.get(city, ())), pop)
        if pop in trail and now != pop and here in routes.labels[now].ports:
            found[city] = now
    return found


@dataclass(frozen=True, slots=True)
class ServiceTables:
    """What the service rules of one edge switch depend on."""

    slots: int
    chains: tuple[tuple[str, ...], ...]
    elsewhere: Elsewhere
    left: Elsewhere
    weights: tuple[tuple[str, int], ...]
    """By server, for scheme group; the slots tell all of it otherwise."""

    @classmethod
    def of(
        cls, world: World, routes: Routes, ranking: Ranking, switch: SwitchPlan
    ) -> ServiceTables:
        """Those of a world."""
        pop = switch.city
        return cls(
            size(len(world.plan.servers_of(pop))),
            chains(world, pop),
            elsewhere(world, routes, ranking, pop),
            left(world, routes, ranking, pop),
            world.spread(pop).weights,
        )

    @property
    def in_transition(self) -> bool:
        """Whether servers may hand anything back."""
        moved = self.elsewhere or self.left
        return bool(moved) or any(len(chain) > 1 for chain in self.chains)


def entries(world: World, tables: ServiceTables, switch: SwitchPlan) -> Iterator[Entry]:
    """ADMISSION, SERVICE and BALANCE: every flow to a service address goes to one server.

    A PoP without a serving server drops and counts it.
    """
    group = service_group(world, switch.city)
    if group:
        yield group
    actions: tuple[Action, ...] = (ToGroup(SERVICE_GROUP),) if group else (Hash(tables.slots),)
    goto = None if group else Table.BALANCE
    for family in FAMILIES:
        for prefix in world.plan.service_prefixes(family):
            yield Rule(
                Table.SERVICE,
                SERVICE_ADDRESS,
                match(**destination(prefix)),
                actions if tables.weights else (),
                goto=goto if tables.weights else None,
                cookie=cookie(Duty.SERVICE, int(prefix.network_address)),
            )
    yield from _errors(world, switch)
    yield from _balance(world, tables)
    yield from _late(world, tables, switch)
    if tables.chains and tables.in_transition:
        yield from _handed_back(world, tables, switch)


def _errors(world: World, switch: SwitchPlan) -> Iterator[Rule]:
    """SERVICE: an ICMP error goes to every server: a switch cannot see whose flow it quotes.

    Each server's kernel takes what is about a socket of its own and nothing else, so paths' MTUs
    are found (RFC 7690, which sends them to all too). An error that lands in another PoP than its
    flow is lost.
    """
    actions = tuple(x for server in world.plan.servers_of(switch.city) for x in _to(server))
    errors: dict[Family, list[dict[str, int]]] = {
        4: [{"ip_proto": ICMP, "icmpv4_type": kind} for kind in ICMP_ERRORS],
        6: [{"ip_proto": ICMP6, "icmpv6_type": kind} for kind in ICMP6_ERRORS],
    }
    for family in FAMILIES if actions else ():
        for prefix, error in product(world.plan.service_prefixes(family), errors[family]):
            yield Rule(
                Table.SERVICE,
                SERVICE_ERROR,
                match(**destination(prefix) | error),
                actions,
                cookie=cookie(Duty.SERVICE, int(prefix.network_address)),
            )


def _balance(world: World, tables: ServiceTables) -> Iterator[Rule]:
    """BALANCE: each slot's server; what one hands back, to the server before it."""
    for slot, chain in enumerate(tables.chains):
        hosts = [world.plan.host(name) for name in chain]
        marked = (_MARK,) if len(hosts) > 1 else ()
        duty = cookie(Duty.BALANCE, slot)
        yield Rule(
            Table.BALANCE, BALANCE_SLOT, match(reg0=slot), (*marked, *_to(hosts[0])), cookie=duty
        )
        duty = cookie(Duty.HANDED_ON, slot)
        for before, after in pairwise(hosts):
            back = match(in_port=before.port, reg0=slot)
            yield Rule(Table.BALANCE, BALANCE_NEXT, back, (*marked, *_to(after)), cookie=duty)
        if len(hosts) > 1:
            back = match(in_port=hosts[-1].port, reg0=slot)
            yield Rule(Table.BALANCE, BALANCE_LAST, back, _to(hosts[0]), cookie=duty)


def _to(server: HostPlan) -> tuple[Action, ...]:
    return (SetField("eth_dst", mac(server.mac)), Output(server.port))


def _late(world: World, tables: ServiceTables, switch: SwitchPlan) -> Iterator[Rule]:
    """SERVICE: what lands here though its city has left goes to the PoP that serves it now.

    Only what comes straight from its city: what another PoP hands on stays, so nothing goes round,
    and what stands in for a dead PoP, which carries the dead link, is served.
    """
    plan = world.plan
    for city, pop in tables.left.items():
        label = labels.encode(plan.edge(pop).number, switch.number)
        straight = {"eth_dst": labels.encode(switch.number), "ip_proto": TCP}
        for family in FAMILIES:
            clients = source(plan.transit(city).covers(family))
            for prefix in plan.service_prefixes(family):
                yield Rule(
                    Table.SERVICE,
                    SERVICE_LATE,
                    match(**destination(prefix) | clients | straight),
                    (SetField("eth_dst", label),),
                    goto=Table.ROUTE,
                    cookie=cookie(Duty.HANDED_ON, plan.edge(pop).number),
                )


def _handed_back(world: World, tables: ServiceTables, switch: SwitchPlan) -> Iterator[Rule]:
    """What servers hand back comes in, and what is not for one of them goes on to another PoP.

    What came straight from its city, which has left meanwhile, begins anew where the city is now.
    """
    yield from _back_in(world, switch)
    for city, pop in tables.elsewhere.items():
        yield from _moved(world, tables, city)
        back = (HANDED_BACK, HANDED_BACK)
        yield from _onward(world, switch, BALANCE_ELSEWHERE, city, pop, back)
    for city, pop in tables.left.items():
        yield from _onward(world, switch, BALANCE_STRAIGHT, city, pop, _STRAIGHT)


def _back_in(world: World, switch: SwitchPlan) -> Iterator[Rule]:
    """ADMISSION: a server hands back, to the gateway that tells whether it had been handed on."""
    flow_ports = world.plan.network.second_chance_udp
    ways = (
        ({"ip_proto": TCP, "eth_dst": GATEWAY}, HANDED_BACK),
        ({"ip_proto": TCP, "eth_dst": mac(HANDED_ON_MAC)}, HANDED_BACK | HANDED_ON),
        *(({"ip_proto": UDP, "udp_dst": at, "eth_dst": GATEWAY}, HANDED_BACK) for at in flow_ports),
    )
    for server in world.plan.servers_of(switch.city):
        for family in FAMILIES:
            for prefix in world.plan.service_prefixes(family):
                for back, bits in ways:
                    yield Rule(
                        Table.ADMISSION,
                        ADMIT_HANDED_BACK,
                        from_port(server, **destination(prefix) | back),
                        (SetBits("eth_src", bits, _BITS),),
                        goto=Table.SERVICE,
                        cookie=cookie(Duty.HANDED_ON, server.port),
                    )


def _moved(world: World, tables: ServiceTables, city: str) -> Iterator[Rule]:
    """SERVICE: all that comes from a city that another PoP served before is marked."""
    for family in FAMILIES:
        clients = source(world.plan.transit(city).covers(family))
        for prefix in world.plan.service_prefixes(family):
            yield Rule(
                Table.SERVICE,
                SERVICE_MOVED,
                match(**destination(prefix) | clients, ip_proto=TCP),
                (_MARK, Hash(tables.slots)),
                goto=Table.BALANCE,
                cookie=cookie(Duty.SERVICE, int(prefix.network_address)),
            )


def _onward(
    world: World,
    switch: SwitchPlan,
    priority: int,
    city: str,
    pop: str,
    bits: tuple[int, int],
) -> Iterator[Rule]:
    """BALANCE: what no server here knows of a city's connections goes on to a PoP."""
    other = world.plan.edge(pop).number
    label = SetField("eth_dst", labels.encode(other, switch.number))
    for family in FAMILIES:
        clients = source(world.plan.transit(city).covers(family))
        yield Rule(
            Table.BALANCE,
            priority,
            match(eth_src=bits, ip_proto=TCP, **clients),
            (_GONE_ON, label),
            goto=Table.ROUTE,
            cookie=cookie(Duty.HANDED_ON, other),
        )
