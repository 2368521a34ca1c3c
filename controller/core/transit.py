"""The rules of a transit switch: a city's place on the Internet.

It admits the frames of its clients and origins, labels what goes to an anycast address with the
PoP that serves this city, and forwards: labels towards their PoP, all else towards its prefix. What
finds its next link dead is labelled for the city of its prefix, and loses that label there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network

from controller.core import labels
from controller.core.common import (
    arp_responder,
    deliver,
    drop_the_rest,
    nobody_here,
    refuse_the_rest,
    tell_of_hops,
)
from controller.core.detours import Ways
from controller.core.forwarding import (
    Actions,
    detours,
    first_live,
    label_routes,
    repairs,
    send,
    turn,
)
from controller.core.groups import Repair, number
from controller.core.matching import ETHER_TYPES, GATEWAY, destination, from_host
from controller.core.priorities import (
    ADMIT_FABRIC,
    ADMIT_HOST,
    ADMIT_LABEL_HERE,
    ROUTE_LABEL,
    ROUTE_PREFIX,
    ROUTE_STEER,
    ROUTE_STEER_APART,
)
from controller.core.routing import Routes, fabric_ports, uplink
from controller.core.rules import (
    CountHop,
    Duty,
    Entry,
    Output,
    Rule,
    SetField,
    Table,
    ToGroup,
    cookie,
    match,
)
from controller.core.steering import Steering
from controller.core.steering.ranking import Pops
from controller.core.world import World
from topologies.family import FAMILIES, Prefix, address
from topologies.plan import HostPlan, LinkKind, Plan, SwitchPlan, SwitchRole


def entries(
    world: World, routes: Routes, steering: Steering, switch: SwitchPlan
) -> Iterator[Entry]:
    """All rules and groups of one transit switch."""
    hosts = [
        world.plan.host(link.far(switch.name).node)
        for link in world.plan.links_of(switch.name)
        if link.kind is LinkKind.ACCESS
    ]
    yield from admission(world.plan, switch, hosts)
    ranked = within_reach(routes, steering.usual[switch.city], switch)
    yield from label_routes(world.plan, routes, switch, ranked)
    if world.plan.network.failover:
        yield from city_routes(world.plan, routes, switch)
    yield from steer(world.plan, routes, ranked, switch, anycast(world.plan), ROUTE_STEER)
    for service, apart in steering.apart.items():
        at = [ip_network(address(service, family)) for family in FAMILIES]
        others = within_reach(routes, apart[switch.city], switch)
        yield from steer(world.plan, routes, others, switch, at, ROUTE_STEER_APART)
    yield from prefix_routes(world, routes, switch, hosts)
    yield drop_the_rest(Table.ROUTE)


def admission(plan: Plan, switch: SwitchPlan, hosts: list[HostPlan]) -> Iterator[Rule]:
    """ADMISSION: hosts with their own addresses only; other switches have admitted already."""
    for host in hosts:
        for family in FAMILIES:
            yield Rule(
                Table.ADMISSION,
                ADMIT_HOST,
                from_host(host, host.at(family)),
                (CountHop(),),
                goto=Table.ROUTE,
                cookie=cookie(Duty.ADMIT, host.port),
            )
        yield arp_responder(host)
    for port in fabric_ports(plan, switch):
        yield from admit_fabric(switch, port)
    yield from tell_of_hops(Table.ROUTE)
    yield from refuse_the_rest()


def admit_fabric(switch: SwitchPlan, port: int) -> Iterator[Rule]:
    """ADMISSION: all that another switch sends; what goes round a dead link to here is here now."""
    duty = cookie(Duty.FABRIC, port)
    no_label = SetField("eth_dst", GATEWAY)
    for ether_type in ETHER_TYPES.values():
        came = {"in_port": port, "eth_type": ether_type}
        here = match(**came, eth_dst=labels.towards(labels.CITY | switch.number))
        yield Rule(
            Table.ADMISSION, ADMIT_LABEL_HERE, here, (CountHop(), no_label), Table.ROUTE, duty
        )
        yield Rule(Table.ADMISSION, ADMIT_FABRIC, match(**came), (CountHop(),), Table.ROUTE, duty)


def city_routes(plan: Plan, routes: Routes, switch: SwitchPlan) -> Iterator[Rule]:
    """ROUTE: labels for a city, which only what goes round a dead link has."""
    for target in plan.transits:
        ways, label = routes.cities[target.city], labels.CITY | target.number
        port = ways.ports.get(switch.name)
        if port is not None:
            yield Rule(
                Table.ROUTE,
                ROUTE_LABEL,
                match(eth_dst=labels.towards(label)),
                (Output(port),),
                cookie=cookie(Duty.DETOUR),
            )
            yield from detours(switch, label, ways)


def within_reach(routes: Routes, ranked: Pops, switch: SwitchPlan) -> Pops:
    """The PoPs that a switch reaches; none if the first is lost, and its city does not know yet."""
    reached = tuple(pop for pop in ranked if switch.name in routes.labels[pop].ports)
    return reached if reached[:1] == ranked[:1] else ()


def steer(
    plan: Plan,
    routes: Routes,
    ranked: Sequence[str],
    switch: SwitchPlan,
    prefixes: Iterable[Prefix],
    priority: int,
) -> Iterator[Entry]:
    """ROUTE: a packet to an anycast address gets the label of this city's best PoP.

    A city without a PoP drops its packets and counts them as DEFAULT.
    """
    actions: Actions = ()
    if ranked:
        pop = plan.edge(ranked[0])
        group = repairs(plan, routes, switch, pop.city, ranked).first
        onward = send(switch, routes.labels[pop.city].ports[switch.name])
        if group is not None:
            yield group
            onward = (ToGroup(group.group_id),)
        actions = (SetField("eth_dst", labels.encode(pop.number)), *onward)
    for prefix in prefixes:
        duty = Duty.STEER if actions else Duty.DEFAULT
        number = int(prefix.network_address)
        matched = match(eth_dst=GATEWAY, **destination(prefix))
        yield Rule(Table.ROUTE, priority, matched, actions, cookie=cookie(duty, number))


def anycast(plan: Plan) -> Iterator[Prefix]:
    """What every PoP announces: the service addresses and the pools."""
    for family in FAMILIES:
        yield from plan.service_prefixes(family)
    yield from (pool.prefix for pool in plan.network.pools)


def prefix_routes(
    world: World, routes: Routes, switch: SwitchPlan, hosts: list[HostPlan]
) -> Iterator[Entry]:
    """ROUTE: to the hosts here, and to the other switches' prefixes by least delay."""
    for host in hosts:
        yield from deliver(host)
    yield from nobody_here(switch)
    plan = world.plan
    for target in plan.switches:
        if target.city != switch.city:
            label, ways = labels.CITY | plan.transit(target.city).number, routes.cities[target.city]
            yield from _prefix_route(switch, target, label, ways)
        elif target.role is SwitchRole.EDGE:
            near, ways = world.is_up(uplink(plan, target)), routes.labels[target.city]
            yield from _prefix_route(switch, target, target.number, ways, labelled=not near)


def _prefix_route(
    switch: SwitchPlan, target: SwitchPlan, label: int, ways: Ways, *, labelled: bool = False
) -> Iterator[Entry]:
    """To a switch's prefixes by the ways to a label, which only what needs it gets.

    That is what goes round a dead link, or everything where no switch goes by the prefix.
    """
    port, backup = ways.ports.get(switch.name), ways.backups.get(switch.name)
    if port is None:
        return
    actions: Actions = (Output(port),)
    if labelled:
        actions = (SetField("eth_dst", labels.encode(label)), *turn(port))
    if backup is not None:
        around = (SetField("eth_dst", labels.encode(label, dead=backup.link)), *turn(backup.port))
        name = number(Repair.PREFIX, port, label)
        group = first_live(name, (actions, port), (around, backup.port))
        actions = (ToGroup(name),)
        yield group
    for family in FAMILIES:
        yield Rule(
            Table.ROUTE,
            ROUTE_PREFIX,
            match(**destination(target.covers(family))),
            actions,
            cookie=cookie(Duty.ROUTE, int(target.prefix.network_address)),
        )
