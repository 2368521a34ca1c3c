"""From a network to everything that must be numbered: a pure function with golden files.

A plan fixes names, addresses, MAC addresses, datapath ids, port numbers and interface names,
so that the lab, the controller and the experiments agree without talking to each other.

Names. A city ``LHR`` has the transit switch ``tLHR``; its PoP has the edge switch ``eLHR`` and
the servers ``LHR-s1``...; its clients are ``LHR-c1``..., its origins ``LHR-o1``.... A host's
only interface is ``eth0`` in its own namespace; port n of a switch is ``tLHR-eth<n>``.

If the upstream is BGP, ``tLHR`` is a router, and the PoP's speaker is the host ``LHR-bgp`` of the
edge switch.

Addresses. City number i (from 1) owns the i-th equal part of 10.0.0.0/8 for its clients and
origins; PoP number i the i-th equal part of 172.16.0.0/12 for its servers' own addresses. Parts
are /16 as long as the numbers fit (10.3.0.1 is in city 3, 172.18.0.1 in PoP 2), and the last
address of a part is its switch's (10.3.255.254). Hosts, switches and services have IPv6 twins of
these (``topologies.family``). The ends of link number n, where routers need addresses, have numbers
2n and 2n + 1 of 100.64.0.0/11; that of an uplink's PoP is its speaker's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, collapse_addresses

from topologies import family as families
from topologies.family import Address, Family, Prefix
from topologies.model import Line, Network, Upstream

CITY_PARTS = IPv4Network("10.0.0.0/8")
"""Cities share this prefix: the own addresses of clients and origins."""

POP_PARTS = IPv4Network("172.16.0.0/12")
"""PoPs share this prefix: the own addresses of servers."""

LINK_ADDRESSES = IPv4Network("100.64.0.0/11")
"""Two for each link between routers (RFC 3021); from shared address space (RFC 6598)."""

GATEWAY_ADDRESS = IPv4Address("169.254.1.1")
"""Every host's default gateway: link-local, answered by the switch (no router exists)."""

GATEWAY_ADDRESS6 = IPv6Address("fe80::1")
"""The same gateway by IPv6; nobody asks for its MAC address, every host knows it."""

GATEWAY_MAC = "02:00:00:00:00:01"
"""The gateway's MAC address on every host port."""

SECOND_CHANCE_BIT = "00:10:00:00:00:00"
"""In a frame's source MAC address: a server hands it back if it knows no such connection."""

HANDED_ON_BIT = "00:20:00:00:00:00"
"""In a frame's source MAC address: another PoP has handed it on. Hosts' addresses have neither."""

HANDED_ON_ADDRESS = IPv4Address("169.254.1.2")
"""The gateway to which servers hand back what came with ``HANDED_ON_BIT``: it tells it apart."""

HANDED_ON_ADDRESS6 = IPv6Address("fe80::2")
"""The same by IPv6."""

HANDED_ON_MAC = "02:20:00:00:00:01"
"""Its MAC address: the gateway's, with ``HANDED_ON_BIT``."""

TRANSIT_DPIDS = 0x1000
EDGE_DPIDS = 0x2000
"""Datapath ids are these bases plus the switch's number."""


class HostRole(StrEnum):
    """What a host is for."""

    CLIENT = "client"
    SERVER = "server"
    ORIGIN = "origin"
    SPEAKER = "speaker"  # a PoP's side of BGP with its city


class SwitchRole(StrEnum):
    """Where a switch stands."""

    TRANSIT = "transit"
    EDGE = "edge"


class LinkKind(StrEnum):
    """What a link connects."""

    ACCESS = "access"  # client or origin to transit
    SERVER = "server"  # server to edge: a cable, no delay
    UPLINK = "uplink"  # edge to transit
    TRANSIT = "transit"  # city to city
    BACKBONE = "backbone"  # PoP to PoP, private
    SPEAKER = "speaker"  # a PoP's speaker to its edge: a cable, no delay


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host: a network namespace with one interface, ``eth0``."""

    name: str
    role: HostRole
    city: str
    address: IPv4Address
    mac: str
    switch: str
    port: int

    def at(self, family: Family) -> Address:
        """The host's own address of a family."""
        return families.address(self.address, family)


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """One OpenFlow switch, or the router in its place.

    ``number`` counts PoPs (edge) or cities (transit) from 1. ``prefix`` covers every host's own
    address behind it.
    """

    name: str
    role: SwitchRole
    city: str
    dpid: int
    number: int
    prefix: IPv4Network

    def covers(self, family: Family) -> Prefix:
        """The prefix of a family."""
        return families.prefix(self.prefix, family)

    @property
    def address(self) -> IPv4Address:
        """A switch's own address, by which the controller answers for it: its prefix's last."""
        return self.prefix.broadcast_address - 1


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: ``port`` is an OpenFlow port number, None on a host."""

    node: str
    interface: str
    port: int | None


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """One link; ``number`` counts from 1 and names the emulator's inner interfaces."""

    number: int
    kind: LinkKind
    a: End
    b: End
    line: Line

    @property
    def inner(self) -> tuple[str, str]:
        """The emulator's own interface names at end a and at end b."""
        return f"l{self.number}a", f"l{self.number}b"

    @property
    def addresses(self) -> tuple[IPv4Address, IPv4Address]:
        """Those that routers have at end a and at end b."""
        return LINK_ADDRESSES[2 * self.number], LINK_ADDRESSES[2 * self.number + 1]

    def address(self, end: End) -> IPv4Address:
        """That of the router at one end."""
        return self.addresses[0 if end is self.a else 1]

    def near(self, node: str) -> End:
        """The end at ``node``; KeyError when the link does not touch it."""
        if node == self.a.node:
            return self.a
        if node == self.b.node:
            return self.b
        raise KeyError(node)

    def far(self, node: str) -> End:
        """The end opposite ``node``; KeyError when the link does not touch it."""
        return self.b if self.near(node) is self.a else self.a


@dataclass(frozen=True)  # no slots: the look-up tables are cached in the instance
class Plan:
    """Everything numbered. Order is the network's order, so equal networks give equal plans.

    Look-ups raise KeyError for a name that does not exist. A PoP is named by its city's code.
    ``routers`` stand in place of the transit switches if the upstream is BGP.
    """

    network: Network
    switches: tuple[SwitchPlan, ...]
    hosts: tuple[HostPlan, ...]
    links: tuple[LinkPlan, ...]
    routers: tuple[SwitchPlan, ...] = ()

    def host(self, name: str) -> HostPlan:
        """The host with this name."""
        return self._hosts[name]

    def switch(self, name: str) -> SwitchPlan:
        """The switch or router with this name."""
        return self._switches[name]

    def transit(self, city: str) -> SwitchPlan:
        """The transit switch or the router of a city."""
        return self._switches[transit_name(city)]

    def edge(self, pop: str) -> SwitchPlan:
        """The edge switch of a PoP."""
        return self._switches[edge_name(pop)]

    @cached_property
    def transits(self) -> tuple[SwitchPlan, ...]:
        """The transit switch or router of every city; number n stands at index n - 1."""
        return self.routers or tuple(s for s in self.switches if s.role is SwitchRole.TRANSIT)

    @cached_property
    def edges(self) -> tuple[SwitchPlan, ...]:
        """All edge switches; PoP number n stands at index n - 1."""
        return tuple(s for s in self.switches if s.role is SwitchRole.EDGE)

    def services(self, family: Family) -> tuple[Address, ...]:
        """The service addresses of a family."""
        return tuple(families.address(ip, family) for ip in self.network.services)

    def service_prefixes(self, family: Family) -> tuple[Prefix, ...]:
        """The service addresses of a family in as few prefixes as there can be."""
        return tuple(families.prefix(prefix, family) for prefix in self._service_prefixes)

    @cached_property
    def _service_prefixes(self) -> tuple[IPv4Network, ...]:
        return tuple(collapse_addresses(self.network.service_prefixes))

    def hosts_of(self, role: HostRole, city: str | None = None) -> tuple[HostPlan, ...]:
        """The hosts of one role, everywhere or in one city."""
        return tuple(h for h in self.hosts if h.role is role and city in (None, h.city))

    def speaker(self, pop: str) -> HostPlan | None:
        """A PoP's BGP speaker; None if the upstream is not BGP."""
        return self._hosts.get(speaker_name(pop))

    def servers_of(self, pop: str) -> tuple[HostPlan, ...]:
        """The servers of a PoP."""
        return self.hosts_of(HostRole.SERVER, pop)

    def links_of(self, node: str) -> tuple[LinkPlan, ...]:
        """The links at a switch or host, in the order of the switch's ports."""
        return self._links[node]

    def link_between(self, a: str, b: str) -> LinkPlan:
        """The link that joins two nodes, named in either order."""
        for link in self._links[a]:
            if link.far(a).node == b:
                return link
        raise KeyError(f"{a}, {b}")

    @cached_property
    def _hosts(self) -> dict[str, HostPlan]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _switches(self) -> dict[str, SwitchPlan]:
        return {switch.name: switch for switch in (*self.routers, *self.switches)}

    @cached_property
    def _links(self) -> dict[str, tuple[LinkPlan, ...]]:
        found: defaultdict[str, list[LinkPlan]] = defaultdict(list)
        for link in self.links:
            found[link.a.node].append(link)
            found[link.b.node].append(link)
        return {node: tuple(links) for node, links in found.items()}


def transit_name(city: str) -> str:
    """The name of a city's transit switch."""
    return f"t{city}"


def edge_name(pop: str) -> str:
    """The name of a PoP's edge switch."""
    return f"e{pop}"


def speaker_name(pop: str) -> str:
    """The name of a PoP's BGP speaker."""
    return f"{pop}-bgp"


def part(whole: IPv4Network, number: int, count: int) -> IPv4Network:
    """The ``number``-th (from 1) of ``count`` equal parts; part 0 stays unused.

    Parts are /16 until ``count`` needs more of them.
    """
    length = max(16, whole.prefixlen + count.bit_length())
    size = 1 << (32 - length)
    return IPv4Network((int(whole.network_address) + number * size, length))


def plan(network: Network) -> Plan:
    """Number everything in a network. Pure: equal networks give equal plans.

    The network must have no problems (``topologies.validate.problems``).
    """
    nodes = tuple(_switches(network))
    ports: Counter[str] = Counter()
    prefixes = {node.name: node.prefix for node in nodes}
    used: Counter[str] = Counter()
    hosts: list[HostPlan] = []
    links: list[LinkPlan] = []

    def end(node: str) -> End:
        ports[node] += 1
        return End(node, f"{node}-eth{ports[node]}", ports[node])

    def join(kind: LinkKind, a: End, b: End, line: Line) -> None:
        links.append(LinkPlan(len(links) + 1, kind, a, b, line))

    for link in network.links:
        a, b = transit_name(link.a), transit_name(link.b)
        join(LinkKind.TRANSIT, end(a), end(b), link.line)
    for pop in network.pops:
        a, b = edge_name(pop.city), transit_name(pop.city)
        join(LinkKind.UPLINK, end(a), end(b), pop.uplink)
    for link in network.backbone:
        a, b = edge_name(link.a), edge_name(link.b)
        join(LinkKind.BACKBONE, end(a), end(b), link.line)
    for name, role, city, switch, line in _attached(network):
        used[switch] += 1
        address = prefixes[switch].network_address + used[switch]
        near = end(switch)
        kind = LinkKind.SERVER if role is HostRole.SERVER else LinkKind.ACCESS
        join(kind, End(name, "eth0", None), near, line)
        hosts.append(HostPlan(name, role, city, address, host_mac(address), switch, ports[switch]))
    if network.upstream is Upstream.SDN:
        return Plan(network, nodes, tuple(hosts), tuple(links))
    uplinks = [link for link in links if link.kind is LinkKind.UPLINK]
    for pop, uplink in zip(network.pops, uplinks, strict=True):
        name, edge, (address, _) = speaker_name(pop.city), uplink.a.node, uplink.addresses
        join(LinkKind.SPEAKER, End(name, "eth0", None), end(edge), Line())
        mac, port = host_mac(address), ports[edge]
        hosts.append(HostPlan(name, HostRole.SPEAKER, pop.city, address, mac, edge, port))
    routers = tuple(node for node in nodes if node.role is SwitchRole.TRANSIT)
    return Plan(network, nodes[len(routers) :], tuple(hosts), tuple(links), routers)


def host_mac(address: IPv4Address) -> str:
    """A MAC address from an address: locally administered 02:0a, then its IPv4 address."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x0a" + address.packed)


def router_mac(link: LinkPlan, end: End) -> str:
    """Of a router's interface: for hosts and PoPs it is their gateway."""
    return host_mac(link.address(end)) if link.kind is LinkKind.TRANSIT else GATEWAY_MAC


def _switches(network: Network) -> Iterator[SwitchPlan]:
    cities, pops = len(network.cities), len(network.pops)
    for n, city in enumerate(network.cities, 1):
        prefix = part(CITY_PARTS, n, cities)
        name = transit_name(city.code)
        yield SwitchPlan(name, SwitchRole.TRANSIT, city.code, TRANSIT_DPIDS + n, n, prefix)
    for n, pop in enumerate(network.pops, 1):
        prefix = part(POP_PARTS, n, pops)
        yield SwitchPlan(edge_name(pop.city), SwitchRole.EDGE, pop.city, EDGE_DPIDS + n, n, prefix)


def _attached(network: Network) -> Iterator[tuple[str, HostRole, str, str, Line]]:
    """Every host: name, role, city, switch and line, servers first."""
    for pop in network.pops:
        for n in range(1, pop.servers + 1):
            yield f"{pop.city}-s{n}", HostRole.SERVER, pop.city, edge_name(pop.city), Line()
    for role, attachments in (
        (HostRole.CLIENT, network.clients),
        (HostRole.ORIGIN, network.origins),
    ):
        count: Counter[str] = Counter()
        for at in attachments:
            for _ in range(at.count):
                count[at.city] += 1
                name = f"{at.city}-{role.value[0]}{count[at.city]}"
                yield name, role, at.city, transit_name(at.city), at.access
