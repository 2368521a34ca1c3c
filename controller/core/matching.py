"""What the tables share: protocol numbers, priorities, and matches that several duties need."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from controller.core.rules import (
    Copy,
    Duty,
    Match,
    OutputInPort,
    Rule,
    SetField,
    Table,
    cookie,
    mac,
    match,
)
from topologies.plan import GATEWAY_ADDRESS, GATEWAY_MAC, HostPlan

IPV4: Final = 0x0800
ARP: Final = 0x0806
VLAN: Final = 0x8100
VLAN_PRESENT: Final = 0x1000
"""The bit of ``vlan_vid`` that a tagged frame has (OpenFlow 1.3.5 section 7.2.3.7)."""
TCP: Final = 6
UDP: Final = 17
ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
DHCP_CLIENT: Final = 68
DHCP_SERVER: Final = 67

TRANSPORTS: Final = ((TCP, "tcp"), (UDP, "udp"))
"""Protocols whose ports are lent: IP protocol number, and prefix of their port fields."""

GATEWAY: Final = mac(GATEWAY_MAC)

# Priorities, by table. Within a table a higher one is looked at first; where rules of one priority
# overlap they do the same, so their order does not matter.

ADMIT_NEVER: Final = 500
"""ADMISSION: what no host may send, and no switch passes on."""
ADMIT_PUNT: Final = 400
"""ADMISSION: DHCP comes before the source check, because a client has no address yet."""
ADMIT_HOST: Final = 300
"""ADMISSION: a host's legitimate frames."""
ADMIT_LABEL_HERE: Final = 300
"""ADMISSION: from another switch, labelled for this PoP."""
ADMIT_FABRIC: Final = 200
"""ADMISSION: anything else that another switch may send."""
ADMIT_SPOOF: Final = 100
"""ADMISSION: the IPv4 and ARP frames that nothing above admits."""

SERVICE_ADDRESS: Final = 100
"""SERVICE: the destination is a service address."""

BORROWED_RETURN: Final = 400
"""BORROWED: a live (address, port set)."""
BORROWED_LANDED: Final = 300
"""BORROWED: sent home by another PoP, yet nobody here holds it; must not travel again."""
BORROWED_HOME: Final = 200
"""BORROWED: an address that is at home in another PoP."""
BORROWED_UNLENT: Final = 100
"""BORROWED: the rest of the pool."""

ROUTE_LABEL_BACK: Final = 500
"""ROUTE: on a label, back out of the port it came in by."""
ROUTE_LABEL: Final = 400
"""ROUTE: on a label."""
ROUTE_STEER: Final = 300
"""ROUTE: not labelled yet, but to an address that every PoP announces."""
ROUTE_HOST: Final = 200
"""ROUTE: to a host on this switch."""
ROUTE_PREFIX: Final = 100
"""ROUTE: to a host on another switch, or to nobody on this one."""
ROUTE_UPLINK: Final = 50
"""ROUTE: from a PoP to the rest of the world."""

OTHERWISE: Final = 0
"""Every table: what nothing else matches."""


def from_host(host: HostPlan, **more: int | tuple[int, int]) -> Match:
    """An IPv4 frame from a host's own port and MAC address, to the gateway: never to a label."""
    return match(in_port=host.port, eth_src=mac(host.mac), eth_dst=GATEWAY, eth_type=IPV4, **more)


def prefix_match(prefix: IPv4Network) -> tuple[int, int]:
    """Value and mask of a prefix."""
    return int(prefix.network_address), int(prefix.netmask)


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


def refuse_the_rest() -> tuple[Rule, ...]:
    """ADMISSION: drop what nothing admits, and from everybody VLAN tags and answers of DHCP.

    No rule looks behind a tag, and only the controller lends. IPv4 and ARP are counted apart from
    the hosts' IPv6 noise.
    """
    answer = match(eth_type=IPV4, ip_proto=UDP, udp_dst=DHCP_CLIENT)
    never = (
        Rule(Table.ADMISSION, ADMIT_NEVER, matched, cookie=cookie(Duty.SPOOF, number))
        for matched, number in ((match(vlan_vid=(VLAN_PRESENT, VLAN_PRESENT)), VLAN), (answer, UDP))
    )
    spoofs = (
        Rule(Table.ADMISSION, ADMIT_SPOOF, match(eth_type=kind), cookie=cookie(Duty.SPOOF, kind))
        for kind in (IPV4, ARP)
    )
    return (*never, *spoofs, drop_the_rest(Table.ADMISSION))


def drop_the_rest(table: Table) -> Rule:
    """Drop and count what no other rule of a table matches."""
    return Rule(table, OTHERWISE, match(), cookie=cookie(Duty.DEFAULT, table))
