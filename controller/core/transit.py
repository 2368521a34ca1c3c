"""The rules of a transit switch: a city's place on the Internet.

It admits the frames of its clients and origins, labels what goes to an anycast address with the
PoP that serves this city, and forwards: labels towards their PoP, all else towards its prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from controller.core import labels
from controller.core.common import (
    arp_responder,
    deliver,
    drop_the_rest,
    nobody_here,
    refuse_the_rest,
)
from controller.core.matching import GATEWAY, destination, from_host
from controller.core.priorities import (
    ADMIT_FABRIC,
    ADMIT_HOST,
    ROUTE_LABEL,
    ROUTE_PREFIX,
    ROUTE_STEER,
)
from controller.core.routing import Routes, fabric_ports
from controller.core.rules import Duty, Output, Rule, SetField, Table, cookie, match
from controller.core.steering import Ranking
from controller.core.world import World
from topologies.family import FAMILIES, Prefix
from topologies.plan import HostPlan, LinkKind, Plan, SwitchPlan


def rules(world: World, routes: Routes, ranking: Ranking, switch: SwitchPlan) -> Iterator[Rule]:
    """All rules of one transit switch."""
    hosts = [
        world.plan.host(link.far(switch.name).node)
        for link in world.plan.links_of(switch.name)
        if link.kind is LinkKind.ACCESS
    ]
    yield from admission(world.plan, switch, hosts)
    yield from label_routes(world.plan, routes, switch)
    yield from steering(world.plan, routes, ranking, switch)
    yield from prefix_routes(world.plan, routes, switch, hosts)
    yield drop_the_rest(Table.ROUTE)


def admission(plan: Plan, switch: SwitchPlan, hosts: list[HostPlan]) -> Iterator[Rule]:
    """ADMISSION: hosts with their own addresses only; other switches have admitted already."""
    for host in hosts:
        for family in FAMILIES:
            yield Rule(
                Table.ADMISSION,
                ADMIT_HOST,
                from_host(host, host.at(family)),
                goto=Table.ROUTE,
                cookie=cookie(Duty.ADMIT, host.port),
            )
        yield arp_responder(host)
    for port in fabric_ports(plan, switch):
        yield Rule(
            Table.ADMISSION,
            ADMIT_FABRIC,
            match(in_port=port),
            goto=Table.ROUTE,
            cookie=cookie(Duty.FABRIC, port),
        )
    yield from refuse_the_rest()


def label_routes(plan: Plan, routes: Routes, switch: SwitchPlan) -> Iterator[Rule]:
    """ROUTE: a labelled packet goes on towards its PoP."""
    for edge in plan.edges:
        port = routes.labels[edge.city].get(switch.name)
        if port is not None:
            yield Rule(
                Table.ROUTE,
                ROUTE_LABEL,
                match(eth_dst=labels.towards(edge.number)),
                (Output(port),),
                cookie=cookie(Duty.LABEL, edge.number),
            )


def steering(plan: Plan, routes: Routes, ranking: Ranking, switch: SwitchPlan) -> Iterator[Rule]:
    """ROUTE: a packet to an anycast address gets the label of this city's best PoP.

    A city without a PoP has no such rule; its packets are dropped and counted as DEFAULT.
    """
    ranked = ranking.get(switch.city, ())
    if not ranked:
        return
    pop = plan.edge(ranked[0])
    port = routes.labels[pop.city][switch.name]
    for prefix in anycast(plan):
        yield Rule(
            Table.ROUTE,
            ROUTE_STEER,
            match(eth_dst=GATEWAY, **destination(prefix)),
            (SetField("eth_dst", labels.encode(pop.number)), Output(port)),
            cookie=cookie(Duty.STEER, int(prefix.network_address)),
        )


def anycast(plan: Plan) -> Iterator[Prefix]:
    """What every PoP announces: the service addresses and the pools."""
    for family in FAMILIES:
        yield from (ip_network(address) for address in plan.services(family))
    yield from (pool.prefix for pool in plan.network.pools)


def prefix_routes(
    plan: Plan, routes: Routes, switch: SwitchPlan, hosts: list[HostPlan]
) -> Iterator[Rule]:
    """ROUTE: to the hosts here, and to the other switches' prefixes by least delay."""
    for host in hosts:
        yield from deliver(host)
    yield from nobody_here(switch)
    for target in plan.switches:
        port = routes.prefixes[target.name].get(switch.name)
        if port is None:
            continue
        for family in FAMILIES:
            yield Rule(
                Table.ROUTE,
                ROUTE_PREFIX,
                match(**destination(target.covers(family))),
                (Output(port),),
                cookie=cookie(Duty.ROUTE, int(target.prefix.network_address)),
            )
