"""The rules of leases: few per lease, none per flow, so that a lease comes and goes quickly.

For a live lease, at the holder's PoP: the holder may send from (address, port set), and what
comes for it goes to the holder. For an address with a home, at every other PoP: send what lands
here home. For a lease whose holder is not where the address is at home, at every PoP but the
holder's: send what lands here for it to the holder's PoP instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from controller.core import labels
from controller.core.common import exactly
from controller.core.lease import Lease
from controller.core.matching import IPV4, TRANSPORTS, from_host
from controller.core.priorities import (
    ADMIT_HOST,
    BORROWED_ABROAD,
    BORROWED_HOME,
    BORROWED_RETURN,
)
from controller.core.rules import (
    CountHop,
    Duty,
    Match,
    Output,
    Rule,
    RuleKey,
    SetField,
    Table,
    cookie,
    mac,
    match,
)
from topologies.plan import HostPlan, Plan, SwitchPlan

SwitchRules = Mapping[str, frozenset[Rule]]
"""Rules by switch name."""


def lease_rules(plan: Plan, lease: Lease) -> SwitchRules:
    """The rules of one live lease; none of another state's.

    Make before use: install those with Duty.RETURN before those with Duty.ADMIT_LEASE, and
    remove them in the reverse order.
    """
    if not lease.live:
        return {}
    server = plan.host(lease.server)
    here = frozenset((*source_guard(lease, server), *return_path(lease, server)))
    there = {
        edge.name: frozenset(way_abroad(plan, lease, edge))
        for edge in plan.edges
        if lease.abroad and edge.name != server.switch
    }
    return {server.switch: here} | there


def source_guard(lease: Lease, server: HostPlan) -> Iterator[Rule]:
    """ADMISSION: the holder's port may send from the lease, TCP and UDP."""
    ports = (lease.first_port, lease.port_mask)
    for protocol, name in TRANSPORTS:
        yield Rule(
            Table.ADMISSION,
            ADMIT_HOST,
            from_host(server, lease.address, ip_proto=protocol, **{f"{name}_src": ports}),
            (CountHop(), *exactly(f"{name}_src")),
            goto=Table.SERVICE,
            cookie=cookie(Duty.ADMIT_LEASE, int(lease.address)),
        )


def return_path(lease: Lease, server: HostPlan) -> Iterator[Rule]:
    """BORROWED: what comes for the lease goes to the holder."""
    for matched in _destinations(lease):
        yield Rule(
            Table.BORROWED,
            BORROWED_RETURN,
            matched,
            (SetField("eth_dst", mac(server.mac)), Output(server.port)),
            cookie=cookie(Duty.RETURN, int(lease.address)),
        )


def way_abroad(plan: Plan, lease: Lease, landing: SwitchPlan) -> Iterator[Rule]:
    """BORROWED: what lands in this PoP for the lease goes to the holder's, not to the home.

    A packet that has landed before is not matched: two PoPs that take each other for the holder's,
    as in the middle of a move, send nothing to and fro.
    """
    for matched in _destinations(lease):
        yield Rule(
            Table.BORROWED,
            BORROWED_ABROAD,
            matched,
            (SetField("eth_dst", labels.encode(plan.edge(lease.pop).number, landing.number)),),
            goto=Table.ROUTE,
            cookie=cookie(Duty.ABROAD, int(lease.address)),
        )


def return_keys(lease: Lease) -> tuple[RuleKey, ...]:
    """The keys of its return path, by which any holder of these ports is served.

    A switch that has nothing under them lets nobody send from these ports either.
    """
    return tuple((Table.BORROWED, BORROWED_RETURN, matched) for matched in _destinations(lease))


def _destinations(lease: Lease) -> Iterator[Match]:
    """What comes for a lease, TCP and UDP."""
    ports = (lease.first_port, lease.port_mask)
    for protocol, name in TRANSPORTS:
        yield match(
            eth_type=IPV4, ip_proto=protocol, ipv4_dst=int(lease.address), **{f"{name}_dst": ports}
        )


def home_rules(plan: Plan, address: IPv4Address, pop: str) -> SwitchRules:
    """BORROWED, at every PoP but ``pop``: label for the address's home, with where it landed."""
    home = plan.edge(pop)
    return {
        edge.name: frozenset(
            {
                Rule(
                    Table.BORROWED,
                    BORROWED_HOME,
                    match(eth_type=IPV4, ipv4_dst=int(address)),
                    (SetField("eth_dst", labels.encode(home.number, edge.number)),),
                    goto=Table.ROUTE,
                    cookie=cookie(Duty.HOME, int(address)),
                )
            }
        )
        for edge in plan.edges
        if edge is not home
    }


def borrowed_rules(
    plan: Plan, leases: Iterable[Lease], homes: Mapping[IPv4Address, str]
) -> SwitchRules:
    """The rules of many leases and homes together."""
    result: defaultdict[str, set[Rule]] = defaultdict(set)
    parts = [lease_rules(plan, lease) for lease in leases]
    parts += [home_rules(plan, address, pop) for address, pop in homes.items()]
    for part in parts:
        for switch, rules in part.items():
            result[switch] |= rules
    return {switch: frozenset(rules) for switch, rules in result.items()}
