"""What rules match: protocol numbers, and matches that several duties need."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from controller.core.rules import (
    Match,
    mac,
    match,
)
from topologies.plan import GATEWAY_MAC, HostPlan

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


def from_host(host: HostPlan, **more: int | tuple[int, int]) -> Match:
    """An IPv4 frame from a host's own port and MAC address, to the gateway: never to a label."""
    return match(in_port=host.port, eth_src=mac(host.mac), eth_dst=GATEWAY, eth_type=IPV4, **more)


def prefix_match(prefix: IPv4Network) -> tuple[int, int]:
    """Value and mask of a prefix."""
    return int(prefix.network_address), int(prefix.netmask)
