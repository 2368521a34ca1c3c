"""Pools for studies that need more than their network has, and how many addresses that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, summarize_address_range

from experiments.errors import UsageError
from experiments.parameters import Value
from topologies import model
from topologies.model import Network, Pool

PORTS = 65536
"""The ports of an address."""

ROOM = IPv4Network("198.18.0.0/15")
"""Where the studies' own pools are: for tests of networks (RFC 2544), nobody's on the Internet."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many addresses under one tag."""

    tag: str
    addresses: int
    country: str = ""


def sets_per_address(ports: int) -> int:
    """How many sets of so many ports an address has; system ports go with a whole one only."""
    return 1 if ports == PORTS else model.sets_per_address(psid_bits(ports))


def addresses_for(servers: Iterable[int], ports: int) -> int:
    """Addresses that give each server of each PoP one set, when no two PoPs share an address."""
    each = sets_per_address(ports)
    return sum(-(-count // each) for count in servers)


def one_prefix(addresses: int) -> int:
    """At least so many addresses, as many as one prefix has."""
    return 1 << (addresses - 1).bit_length()


def psid_bits(ports: float) -> int:
    """The PSID bits of sets of so many ports. Raises UsageError if none is lent."""
    if ports != int(ports) or not 16 <= ports <= PORTS or int(ports).bit_count() != 1:
        raise UsageError(f"A port set of {ports:g} ports is not lent: use 16, 32, 64 ...")
    return 17 - int(ports).bit_length()


def check_sizes(sizes: Value) -> None:
    """See that sets of every size in a parameter are lent. Raises UsageError."""
    for ports in sizes if isinstance(sizes, tuple) else (sizes,):
        psid_bits(float(ports))


def with_pools(network: Network, wanted: Iterable[Wanted]) -> Network:
    """The network with more pools, apart from all that it has. Raises UsageError."""
    taken = [pool.prefix for pool in network.pools]
    taken += network.service_prefixes
    return replace(network, pools=(*network.pools, *carve(wanted, taken)))


def carve(wanted: Iterable[Wanted], taken: Iterable[IPv4Network] = ()) -> tuple[Pool, ...]:
    """Pools of just these sizes, behind all that is taken. Raises UsageError."""
    used = [int(prefix.broadcast_address) for prefix in taken if prefix.overlaps(ROOM)]
    free = max(used, default=int(ROOM.network_address) - 1) + 1
    pools: list[Pool] = []
    for want in wanted:
        first = _aligned(free, want.addresses)
        free = first + want.addresses
        if free - 1 > int(ROOM.broadcast_address):
            raise UsageError(f"{ROOM} has no room for the pools of this study: ask for fewer.")
        pools += (Pool(prefix, want.tag, want.country) for prefix in _prefixes(first, free - 1))
    return tuple(pools)


def _aligned(free: int, count: int) -> int:
    """The first number from ``free`` on that starts a prefix which can hold so many."""
    size = one_prefix(count)
    return -(-free // size) * size


def _prefixes(first: int, last: int) -> Iterator[IPv4Network]:
    return summarize_address_range(IPv4Address(first), IPv4Address(last))
