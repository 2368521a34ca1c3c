"""The rules that every switch has: it answers for the gateway, delivers to hosts, and refuses."""

from __future__ import annotations

from collections.abc import Iterator

from controller.core.matching import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    DHCP_CLIENT,
    GATEWAY,
    ICMP,
    ICMP6,
    IPV4,
    IPV6,
    MULTICAST,
    UDP,
    VLAN,
    VLAN_PRESENT,
    destination,
    prefix_match,
)
from controller.core.priorities import (
    ADMIT_CHATTER,
    ADMIT_HOST,
    ADMIT_NEVER,
    ADMIT_SPOOF,
    OTHERWISE,
    ROUTE_HOST,
    ROUTE_PREFIX,
)
from controller.core.rules import (
    FROM_CONTROLLER,
    Copy,
    Duty,
    Output,
    OutputInPort,
    Rule,
    SetField,
    Table,
    cookie,
    mac,
    match,
)
from topologies.family import FAMILIES
from topologies.plan import GATEWAY_ADDRESS, HostPlan, SwitchPlan


def arp_responder(host: HostPlan) -> Rule:
    """Answer a host that asks for its gateway, out of the port that it asked by."""
    return Rule(
        Table.ADMISSION,
        ADMIT_HOST,
        match(
            in_port=host.port,
            eth_src=mac(host.mac),
            eth_type=ARP,
            arp_op=ARP_REQUEST,
            arp_tpa=int(GATEWAY_ADDRESS),
        ),
        (
            Copy("eth_src", "eth_dst"),
            SetField("eth_src", GATEWAY),
            SetField("arp_op", ARP_REPLY),
            Copy("arp_sha", "arp_tha"),
            SetField("arp_sha", GATEWAY),
            Copy("arp_spa", "arp_tpa"),
            SetField("arp_spa", int(GATEWAY_ADDRESS)),
            OutputInPort(),
        ),
        cookie=cookie(Duty.ARP, host.port),
    )


def tell_of_hops(onward: Table) -> Iterator[Rule]:
    """ADMISSION: what the controller says for this switch of packets whose hops have run out."""
    for ether_type, protocol in ((IPV4, ICMP), (IPV6, ICMP6)):
        yield Rule(
            Table.ADMISSION,
            ADMIT_HOST,
            match(in_port=FROM_CONTROLLER, eth_type=ether_type, ip_proto=protocol),
            goto=onward,
            cookie=cookie(Duty.EXCEEDED, ether_type),
        )


def refuse_the_rest() -> tuple[Rule, ...]:
    """ADMISSION: drop what nothing admits, and from everybody VLAN tags and answers of DHCP.

    No rule looks behind a tag, and only the controller lends. What hosts say to IPv6 groups of
    themselves is no spoof.
    """
    answer = match(eth_type=IPV4, ip_proto=UDP, udp_dst=DHCP_CLIENT)
    never = (
        Rule(Table.ADMISSION, ADMIT_NEVER, matched, cookie=cookie(Duty.SPOOF, number))
        for matched, number in ((match(vlan_vid=(VLAN_PRESENT, VLAN_PRESENT)), VLAN), (answer, UDP))
    )
    spoofs = (
        Rule(Table.ADMISSION, ADMIT_SPOOF, match(eth_type=kind), cookie=cookie(Duty.SPOOF, kind))
        for kind in (IPV4, IPV6, ARP)
    )
    chatter = Rule(
        Table.ADMISSION,
        ADMIT_CHATTER,
        match(eth_type=IPV6, ipv6_dst=prefix_match(MULTICAST)),
        cookie=cookie(Duty.DEFAULT, IPV6),
    )
    return (*never, chatter, *spoofs, drop_the_rest(Table.ADMISSION))


def exactly(*fields: str) -> tuple[Copy, ...]:
    """Copy fields onto themselves: no packet changes, but the whole values decide.

    Open vSwitch caches what it has decided for as many bits as rules have looked at. Where rules
    come and go such decisions overlap, and may go stale; those for whole values do not (decision
    008).
    """
    return tuple(Copy(field, field) for field in fields)


def drop_the_rest(table: Table) -> Rule:
    """Drop and count what no other rule of a table matches."""
    return Rule(table, OTHERWISE, match(), cookie=cookie(Duty.DEFAULT, table))


def deliver(host: HostPlan) -> Iterator[Rule]:
    """ROUTE: to a host's own addresses, out of its port."""
    for family in FAMILIES:
        yield Rule(
            Table.ROUTE,
            ROUTE_HOST,
            match(**destination(host.at(family))),
            (SetField("eth_dst", mac(host.mac)), Output(host.port)),
            cookie=cookie(Duty.ROUTE, int(host.address)),
        )


def nobody_here(switch: SwitchPlan) -> Iterator[Rule]:
    """ROUTE: to this switch's own prefixes, but to no host: drop, or it would turn back."""
    for family in FAMILIES:
        yield Rule(
            Table.ROUTE,
            ROUTE_PREFIX,
            match(**destination(switch.covers(family))),
            cookie=cookie(Duty.DEFAULT, int(switch.prefix.network_address)),
        )
