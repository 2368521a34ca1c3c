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
)
from controller.core.matching import (
    DHCP_CLIENT,
    DHCP_SERVER,
    ECHO,
    ETHER_TYPES,
    GATEWAY,
    ICMP,
    ICMP_TO_BORROWERS,
    IPV4,
    TRANSPORTS,
    UDP,
    destination,
    from_host,
    prefix_match,
)
from controller.core.priorities import (
    ADMIT_FABRIC,
    ADMIT_HOST,
    ADMIT_LABEL_HERE,
    ADMIT_PUNT,
    ADMIT_SPOOF_PORTS,
    BORROWED_ICMP,
    BORROWED_LANDED,
    BORROWED_LANDED_ICMP,
    BORROWED_UNLENT,
    OTHERWISE,
    ROUTE_LABEL,
    ROUTE_LABEL_BACK,
    ROUTE_UPLINK,
    SERVICE_IPV4,
    SERVICE_PORTS,
)
from controller.core.routing import Routes, fabric_ports, uplink_port
from controller.core.rules import (
    Duty,
    Output,
    OutputInPort,
    Rule,
    Table,
    ToController,
    cookie,
    mac,
    match,
)
from controller.core.service import ServiceTables
from controller.core.world import World
from topologies.family import FAMILIES
from topologies.plan import HostPlan, Plan, SwitchPlan


def rules(
    world: World, routes: Routes, tables: ServiceTables, switch: SwitchPlan
) -> Iterator[Rule]:
    """All rules of one edge switch but those of leases."""
    yield from admission(world.plan, switch)
    yield from service.rules(world, tables, switch)
    yield from to_the_leases()
    yield from borrowed(world.plan, switch)
    yield from label_routes(world.plan, routes, switch)
    yield from prefix_routes(world, switch)


def admission(plan: Plan, switch: SwitchPlan) -> Iterator[Rule]:
    """ADMISSION: a server with its own or a service address; other switches by what they carry."""
    for server in plan.servers_of(switch.city):
        yield from admit_server(plan, server)
        yield punt_dhcp(server)
        yield from punt_echo(plan, server)
        yield arp_responder(server)
    for port in fabric_ports(plan, switch):
        yield from admit_fabric(switch, port)
    yield from refuse_ports()
    yield from refuse_the_rest()


def admit_server(plan: Plan, server: HostPlan) -> Iterator[Rule]:
    """ADMISSION: what a server may always send; leases add more."""
    for family in FAMILIES:
        for address in (server.at(family), *plan.services(family)):
            yield Rule(
                Table.ADMISSION,
                ADMIT_HOST,
                from_host(server, address),
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
        yield Rule(Table.ADMISSION, ADMIT_HOST, own, (ToController(),), cookie=duty)


def admit_fabric(switch: SwitchPlan, port: int) -> Iterator[Rule]:
    """ADMISSION: from another switch come labels, and packets to the servers' own addresses."""
    duty = cookie(Duty.FABRIC, port)
    here = match(in_port=port, eth_dst=labels.towards(switch.number))
    relay = match(in_port=port, eth_dst=labels.ANY)
    yield Rule(Table.ADMISSION, ADMIT_LABEL_HERE, here, goto=Table.SERVICE, cookie=duty)
    yield Rule(Table.ADMISSION, ADMIT_FABRIC, relay, goto=Table.ROUTE, cookie=duty)
    for family in FAMILIES:
        own = match(in_port=port, eth_dst=GATEWAY, **destination(switch.covers(family)))
        yield Rule(Table.ADMISSION, ADMIT_FABRIC, own, goto=Table.ROUTE, cookie=duty)


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


def label_routes(plan: Plan, routes: Routes, switch: SwitchPlan) -> Iterator[Rule]:
    """ROUTE: a packet for another PoP goes on by the backbone or the uplink, whichever is nearer.

    A packet that landed here by the uplink and goes home by the uplink turns around; a switch
    sends nothing out of the port it came in by unless told so in these words.
    """
    uplink = uplink_port(plan, switch)
    for edge in plan.edges:
        port = routes.labels[edge.city].get(switch.name)
        if port is None:
            continue
        target = labels.towards(edge.number)
        duty = cookie(Duty.LABEL, edge.number)
        yield Rule(Table.ROUTE, ROUTE_LABEL, match(eth_dst=target), (Output(port),), cookie=duty)
        if port == uplink:
            back = match(in_port=uplink, eth_dst=target)
            yield Rule(Table.ROUTE, ROUTE_LABEL_BACK, back, (OutputInPort(),), cookie=duty)


def prefix_routes(world: World, switch: SwitchPlan) -> Iterator[Rule]:
    """ROUTE: to the servers here, and all else by the uplink while there is one."""
    for server in world.plan.servers_of(switch.city):
        yield from deliver(server)
    yield from nobody_here(switch)
    uplink = uplink_port(world.plan, switch)
    for ether_type in ETHER_TYPES.values() if (switch.name, uplink) not in world.down else ():
        yield Rule(
            Table.ROUTE,
            ROUTE_UPLINK,
            match(eth_dst=GATEWAY, eth_type=ether_type),
            (Output(uplink),),
            cookie=cookie(Duty.ROUTE),
        )
    yield drop_the_rest(Table.ROUTE)
