"""IPv4 and IPv6 side by side: every IPv4 address of a network has a twin.

The twin embeds it (RFC 6052 section 2.2, a /96 prefix), so nothing is numbered twice: 10.1.0.1 is
2001:db8::a01:1 as well, and 10.1.0.0/16 is 2001:db8::a01:0/112. Hosts and services have both;
addresses of pools, which are lent, are IPv4 alone.
"""

from __future__ import annotations

from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Family = Literal[4, 6]

FAMILIES: tuple[Family, ...] = (4, 6)

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

EMBEDDED = IPv6Network("2001:db8::/96")
"""Where the twins are: a part of the prefix for documentation (RFC 3849)."""


def address(ip: IPv4Address, family: Family) -> Address:
    """The address itself, or its twin."""
    return ip if family == 4 else twin(ip)


def twin(ip: IPv4Address) -> IPv6Address:
    """The address of the other family that embeds this one."""
    return EMBEDDED.network_address + int(ip)


def prefix(network: IPv4Network, family: Family) -> Prefix:
    """The prefix itself, or that of the twins of its addresses."""
    return network if family == 4 else _twins(network)


def written(network: Prefix) -> str:
    """A prefix as people write it: that of one address is the address."""
    return str(network[0] if network.prefixlen == network.max_prefixlen else network)


@cache
def _twins(network: IPv4Network) -> IPv6Network:
    twin = EMBEDDED.network_address + int(network.network_address)
    return IPv6Network((twin, EMBEDDED.prefixlen + network.prefixlen))
