"""The ways that packets are meant to take, and how long those take.

What the controller programs, worked out a second time: an oracle for tests and experiments, not a
part of the controller. All delays are one way, in nanoseconds.

Between cities everything takes the way of least delay over transit links. Only packets with a
PoP's label use that PoP's edge switch and the private backbone in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from topologies import shortest
from topologies.model import Network
from topologies.plan import LinkKind, Plan, edge_name

Graph = dict[str, dict[str, int]]
"""From each node to each neighbour: the delay."""

UNLABELLED = frozenset(LinkKind) - {LinkKind.BACKBONE}
"""The links for packets without a label."""


def graph(plan: Plan, kinds: Iterable[LinkKind] = LinkKind) -> Graph:
    """Every switch, router and host, and the links of the kinds wanted, both ways."""
    wanted = frozenset(kinds)
    found: Graph = {node.name: {} for node in (*plan.routers, *plan.switches)}
    found |= {host.name: {} for host in plan.hosts}
    for link in plan.links:
        if link.kind in wanted:
            _join(found, link.a.node, link.b.node, link.line.delay_ns)
    return found


def city_graph(network: Network) -> Graph:
    """The cities (by code) and the long-haul links between them."""
    found: Graph = {city.code: {} for city in network.cities}
    for link in network.links:
        _join(found, link.a, link.b, link.line.delay_ns)
    return found


def _join(graph: Graph, a: str, b: str, delay_ns: int) -> None:
    graph[a][b] = graph[b][a] = delay_ns


def city_delays(network: Network) -> dict[str, dict[str, int]]:
    """The least delay between any two cities, transit links only: ``[from][to]``."""
    cities = city_graph(network)
    return {city: shortest.costs(cities, city) for city in cities}


def route(plan: Plan, source: str, target: str) -> list[str]:
    """The nodes from one host or switch to another for packets without a label.

    Never over the backbone, and through no PoP but the first and the last.
    """
    return shortest.path(graph(plan, UNLABELLED), source, target)


def label_route(plan: Plan, source: str, pop: str) -> list[str]:
    """The nodes from a switch to a PoP's edge switch for packets with that PoP's label.

    Edge switches may use the backbone and their uplink; transit switches never go down to an
    edge other than the target. That keeps any assignment of clients to PoPs free of loops.
    """
    return shortest.path(label_graph(plan, pop), source, edge_name(pop))


def label_graph(plan: Plan, pop: str) -> Graph:
    """What packets with a PoP's label may use: see ``label_route``.

    Routers know of no labels.
    """
    if plan.routers:
        return graph(plan, {LinkKind.BACKBONE})
    target = edge_name(pop)
    found = graph(plan)
    for switch in plan.transits:
        for link in plan.links_of(switch.name):
            down = link.far(switch.name).node
            if link.kind is LinkKind.UPLINK and down != target:
                del found[switch.name][down]
    return found


def delay_ns(plan: Plan, nodes: list[str]) -> int:
    """The delay of a way, given as its nodes. Raises KeyError where no link is."""
    return sum(plan.link_between(a, b).line.delay_ns for a, b in pairwise(nodes))


def delays(plan: Plan, source: str) -> dict[str, int]:
    """The delay from one host or switch to every other node, for packets without a label."""
    return shortest.costs(graph(plan, UNLABELLED), source)


def service_delays(plan: Plan, city: str) -> dict[str, int]:
    """The delay from a city's transit switch to each PoP's edge switch (keyed by PoP)."""
    found = delays(plan, plan.transit(city).name)
    return {edge.city: found[edge.name] for edge in plan.edges}
