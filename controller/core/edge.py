"""The rules of an edge switch that do not depend on leases.

It admits its servers' own sources, drops what comes for a port set that nobody holds, and
forwards. ``service`` spreads service traffic over the servers, ``borrowing`` adds what the leases
need.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.core import labels, service
from controller.core.common import (
    arp_responder,
    deliver,
    drop_the_rest,
    exactly,
    nobody_here,
    refuse_the_rest,
    tell_of_hops,
)
from controller.core.forwarding import Actions, first_live, label_routes, on_detour
from controller.core.groups import Repair, number
from controller.core.matching import (
    DHCP_CLIENT,
    DHCP_SERVER,
    ECHO,
    ETHER_TYPES,
    GATEWAY,
    HEALTH_PORT,
    ICMP,
    ICMP_TO_BORROWERS,
    IPV4,
    SERVICE_PORT,
    TCP,
    TRANSPORTS,
    UDP,
    destination,
    from_host,
    from_port,
    prefix_match,
    source,
)
from controller.core.priorities import (
    ADMIT_FABRIC,
    ADMIT_HOST,
    ADMIT_LABEL_HERE,
    ADMIT_PUNT,
    ADMIT_SPEAKER,
    ADMIT_SPOOF_PORTS,
    BORROWED_ICMP,
    BORROWED_LANDED,
    BORROWED_LANDED_ICMP,
    BORROWED_UNLENT,
    OTHERWISE,
    ROUTE_UPLINK,
    SERVICE_IPV4,
    SERVICE_PORTS,
)
from controller.core.routing import Routes, fabric_ports, uplink, uplink_port
from controller.core.rules import (
    CountHop,
    Duty,
    Entry,
    Output,
    Rule,
    SetField,
    Table,
    ToController,
    ToGroup,
    cookie,
    mac,
    match,
)
from controller.core.service import ServiceTables
from controller.core.world import World
from topologies.family import FAMILIES
from topologies.plan import GATEWAY_ADDRESS, HostPlan, LinkPlan, Plan, SwitchPlan


def entries(
    world: World, routes: Routes, tables: ServiceTables, switch: SwitchPlan
) -> Iterator[Entry]:
    """All rules and groups of one edge switch but those of leases."""
    yield from admission(world.plan, switch)
    yield from service.entries(world, tables, switch)
    yield from to_the_leases()
    yield from borrowed(world.plan, switch)
    yield from label_routes(world.plan, routes, switch)
    yield from prefix_routes(world, routes, switch)


def admission(plan: Plan, switch: SwitchPlan) -> Iterator[Rule]:
    """ADMISSION: a server with its own or a service address; other switches by what they carry."""
    for server in plan.servers_of(switch.city):
        yield from admit_server(plan, server)
        yield punt_dhcp(server)
        yield punt_health(plan, server)
        yield from punt_echo(plan, server)
        yield arp_responder(server)
    speaker = plan.speaker(switch.city)
    if speaker is not None:
        yield from admit_router(uplink(plan, switch), switch, speaker)
    for port in fabric_ports(plan, switch):
        if speaker is None or port != uplink_port(plan, switch):
            yield from admit_fabric(switch, port)
    yield from tell_of_hops(Table.SERVICE)
    yield from refuse_ports()
    yield from refuse_the_rest()


def admit_server(plan: Plan, server: HostPlan) -> Iterator[Rule]:
    """ADMISSION: what a server may always send; leases add more."""
    for family in FAMILIES:
        for origin in (server.at(family), *plan.service_prefixes(family)):
            yield Rule(
                Table.ADMISSION,
                ADMIT_HOST,
                from_host(server, origin),
                (CountHop(),),
                goto=Table.SERVICE,
                cookie=cookie(Duty.ADMIT, server.port),
            )


def punt_dhcp(server: HostPlan) -> Rule:
    """ADMISSION: DHCP from a server goes to the controller; the port is the server's identity."""
    return Rule(
        Table.ADMISSION,
        ADMIT_PUNT,
        match(
            in_port=server.port,
            eth_src=mac(server.mac),
            eth_type=IPV4,
            ip_proto=UDP,
            udp_src=DHCP_CLIENT,
            udp_dst=DHCP_SERVER,
        ),
        (ToController(),),
        cookie=cookie(Duty.PUNT, server.port),
    )


def punt_health(plan: Plan, server: HostPlan) -> Rule:
    """ADMISSION: what a server answers to a health check goes to the controller."""
    service = source(plan.network.services[0])
    check = {"ip_proto": TCP, "tcp_src": SERVICE_PORT, "tcp_dst": HEALTH_PORT}
    return Rule(
        Table.ADMISSION,
        ADMIT_PUNT,
        from_port(server, **service | destination(GATEWAY_ADDRESS) | check),
        (ToController(),),
        cookie=cookie(Duty.HEALTH, server.port),
    )


def punt_echo(plan: Plan, server: HostPlan) -> Iterator[Rule]:
    """ADMISSION: whether an echo is from a borrowed address and identifier, the controller sees."""
    for pool in plan.network.pools:
        own = match(
            in_port=server.port,
            eth_src=mac(server.mac),
            eth_dst=GATEWAY,
            eth_type=IPV4,
            ip_proto=ICMP,
            icmpv4_type=ECHO,
            ipv4_src=prefix_match(pool.prefix),
        )
        duty = cookie(Duty.ICMP, int(pool.prefix.network_address))
        actions = (CountHop(), ToController())
        yield Rule(Table.ADMISSION, ADMIT_HOST, own, actions, cookie=duty)


def admit_fabric(switch: SwitchPlan, port: int) -> Iterator[Rule]:
    """ADMISSION: from another switch come labels, and packets to the servers' own addresses."""
    duty, hop = cookie(Duty.FABRIC, port), (CountHop(),)
    for family in FAMILIES:
        came = {"in_port": port, "eth_type": ETHER_TYPES[family]}
        here = match(**came, eth_dst=labels.towards(switch.number))
        relay = match(**came, eth_dst=labels.ANY)
        own = match(in_port=port, eth_dst=GATEWAY, **destination(switch.covers(family)))
        yield Rule(Table.ADMISSION, ADMIT_LABEL_HERE, here, hop, Table.SERVICE, duty)
        yield Rule(Table.ADMISSION, ADMIT_FABRIC, relay, hop, Table.ROUTE, duty)
        yield Rule(Table.ADMISSION, ADMIT_FABRIC, own, hop, Table.ROUTE, duty)


def admit_router(line: LinkPlan, switch: SwitchPlan, speaker: HostPlan) -> Iterator[Rule]:
    """ADMISSION: a router sends all to the speaker, from whom it has heard of us.

    The two talk to each other. What is for other addresses is here, and has not landed elsewhere.
    """
    port, (ours, routers) = line.near(switch.name).port, line.addresses
    assert port is not None
    to_speaker = match(in_port=port, eth_dst=mac(speaker.mac), **destination(ours))
    to_router = from_host(speaker, ours, ipv4_dst=int(routers))
    duty = cookie(Duty.BGP, speaker.port)
    yield Rule(Table.ADMISSION, ADMIT_SPEAKER, to_speaker, (Output(speaker.port),), cookie=duty)
    yield Rule(Table.ADMISSION, ADMIT_SPEAKER, to_router, (Output(port),), cookie=duty)
    for ether_type in ETHER_TYPES.values():
        yield Rule(
            Table.ADMISSION,
            ADMIT_FABRIC,
            match(in_port=port, eth_dst=mac(speaker.mac), eth_type=ether_type),
            (CountHop(), SetField("eth_dst", labels.encode(switch.number))),
            Table.SERVICE,
            cookie(Duty.FABRIC, port),
        )


def refuse_ports() -> Iterator[Rule]:
    """ADMISSION: drop what shows ports that nobody lent to this port, each decided by itself."""
    for protocol, name in TRANSPORTS:
        yield Rule(
            Table.ADMISSION,
            ADMIT_SPOOF_PORTS,
            match(eth_type=IPV4, ip_proto=protocol),
            exactly("ipv4_src", f"{name}_src"),
            cookie=cookie(Duty.SPOOF, protocol),
        )


def to_the_leases() -> Iterator[Rule]:
    """SERVICE: what is for no service address, decided by all that leases look at.

    Leases come and go: for each address and port by itself.
    """
    yield _to_the_leases(OTHERWISE)
    yield _to_the_leases(SERVICE_IPV4, "ipv4_dst", eth_type=IPV4)
    for protocol, name in TRANSPORTS:
        shown = ("ipv4_dst", f"{name}_dst")
        yield _to_the_leases(SERVICE_PORTS, *shown, eth_type=IPV4, ip_proto=protocol)


def _to_the_leases(priority: int, *shown: str, **fields: int) -> Rule:
    return Rule(
        Table.SERVICE,
        priority,
        match(**fields),
        exactly(*shown),
        goto=Table.BORROWED,
        cookie=cookie(Duty.DEFAULT, Table.SERVICE),
    )


def borrowed(plan: Plan, switch: SwitchPlan) -> Iterator[Rule]:
    """BORROWED: what comes for a port set that nobody holds is dropped and counted, never guessed.

    That includes every fragment to a borrowed address: it shows port 0 to the switch, which is
    in PSID 0 and so never lent (but with a whole address). ICMP shows none, so the controller reads
    for whom it is: at the address's home, and where the home has sent it on.
    """
    for kind in ICMP_TO_BORROWERS:
        icmp = {"eth_type": IPV4, "ip_proto": ICMP, "icmpv4_type": kind}
        duty = cookie(Duty.ICMP, kind)
        for landed in labels.landed(switch.number, len(plan.edges)):
            matched = match(eth_dst=landed, **icmp)
            yield Rule(
                Table.BORROWED, BORROWED_LANDED_ICMP, matched, (ToController(),), cookie=duty
            )
        for pool in plan.network.pools:
            matched = match(**icmp | destination(pool.prefix))
            yield Rule(Table.BORROWED, BORROWED_ICMP, matched, (ToController(),), cookie=duty)
    for landed in labels.landed(switch.number, len(plan.edges)):
        yield Rule(
            Table.BORROWED, BORROWED_LANDED, match(eth_dst=landed), cookie=cookie(Duty.UNLENT)
        )
    for pool in plan.network.pools:
        yield Rule(
            Table.BORROWED,
            BORROWED_UNLENT,
            match(**destination(pool.prefix)),
            cookie=cookie(Duty.UNLENT, int(pool.prefix.network_address)),
        )
    yield Rule(Table.BORROWED, OTHERWISE, match(), goto=Table.ROUTE, cookie=cookie(Duty.DEFAULT))


def prefix_routes(world: World, routes: Routes, switch: SwitchPlan) -> Iterator[Entry]:
    """ROUTE: to the servers here, and all else by the uplink, or by another PoP's."""
    for server in world.plan.servers_of(switch.city):
        yield from deliver(server)
    yield from nobody_here(switch)
    yield from egress(world, routes, switch)
    yield drop_the_rest(Table.ROUTE)


def egress(world: World, routes: Routes, switch: SwitchPlan) -> Iterator[Entry]:
    """ROUTE: out by the uplink; if that is dead over the backbone, labelled for another's city."""
    for edge, out in routes.egress.items():
        if edge != switch.name and switch.name in out.ports:
            yield on_detour(switch, labels.CITY | out.city, out.dead, out.ports[switch.name])
    port = uplink_port(world.plan, switch)
    actions: Actions = (Output(port),) if world.is_up(uplink(world.plan, switch)) else ()
    if (around := routes.egress.get(switch.name)) is not None:
        label = labels.encode(labels.CITY | around.city, dead=around.dead)
        instead = (SetField("eth_dst", label), Output(around.ports[switch.name]))
        if actions:
            name = number(Repair.EGRESS)
            yield first_live(name, (actions, port), (instead, around.ports[switch.name]))
            actions = (ToGroup(name),)
        else:
            actions = instead
    for ether_type in ETHER_TYPES.values() if actions else ():
        matched = match(eth_dst=GATEWAY, eth_type=ether_type)
        yield Rule(Table.ROUTE, ROUTE_UPLINK, matched, actions, cookie=cookie(Duty.ROUTE))
