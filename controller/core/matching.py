"""What rules match: protocol numbers, and matches that several duties need."""

from __future__ import annotations

from ipaddress import IPv6Network
from typing import Final

from controller.core.rules import (
    Match,
    mac,
    match,
)
from topologies.family import Address, Prefix
from topologies.plan import GATEWAY_MAC, HostPlan

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
MULTICAST: Final = IPv6Network("ff00::/8")
ETHER_TYPES: Final = {4: IPV4, 6: IPV6}
ARP: Final = 0x0806
VLAN: Final = 0x8100
VLAN_PRESENT: Final = 0x1000
"""The bit of ``vlan_vid`` that a tagged frame has (OpenFlow 1.3.5 section 7.2.3.7)."""
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMP6: Final = 58
ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
DHCP_CLIENT: Final = 68
DHCP_SERVER: Final = 67

SERVICE_PORT: Final = 80
HEALTH_PORT: Final = 7
"""From this port of the gateway's address servers are asked whether they serve (echo, RFC 862)."""

TRANSPORTS: Final = ((TCP, "tcp"), (UDP, "udp"))
"""Protocols whose ports are lent: IP protocol number, and prefix of their port fields."""

ECHO: Final = 8
ECHO_REPLY: Final = 0
ICMP_ERRORS: Final = (3, 11, 12)
"""Unreachable, time exceeded, bad header (RFC 792): they quote the packet that they are about."""
ICMP6_ERRORS: Final = (1, 2, 3, 4)
"""The same of ICMPv6, too big among them (RFC 4443 section 3)."""
ICMP_TO_BORROWERS: Final = (ECHO_REPLY, *ICMP_ERRORS)

GATEWAY: Final = mac(GATEWAY_MAC)


def from_host(host: HostPlan, origin: Address | Prefix, **more: int | tuple[int, int]) -> Match:
    """A host's packet from an address, or any of a prefix, to the gateway: never a label."""
    return from_port(host, **source(origin), **more)


def from_port(host: HostPlan, **fields: int | tuple[int, int]) -> Match:
    """A host's packet to the gateway by its own port and MAC, from whatever address."""
    return match(**{"in_port": host.port, "eth_src": mac(host.mac), "eth_dst": GATEWAY} | fields)


def source(origin: Address | Prefix) -> dict[str, int | tuple[int, int]]:
    """The fields of a packet from an address, or from any of a prefix."""
    return _at(origin, "src")


def destination(target: Address | Prefix) -> dict[str, int | tuple[int, int]]:
    """The fields of a packet to an address, or to any of a prefix."""
    return _at(target, "dst")


def _at(end: Address | Prefix, side: str) -> dict[str, int | tuple[int, int]]:
    where = int(end) if isinstance(end, Address) else prefix_match(end)
    return {"eth_type": ETHER_TYPES[end.version], f"ipv{end.version}_{side}": where}


def prefix_match(prefix: Prefix) -> tuple[int, int]:
    """Value and mask of a prefix."""
    return int(prefix.network_address), int(prefix.netmask)
