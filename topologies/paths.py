"""The ways that packets are meant to take, and how long those take.

What the controller programs, worked out a second time with networkx: an oracle for tests and
experiments, not a part of the controller. All delays are one way, in nanoseconds.

Between cities everything takes the way of least delay over transit links. Only packets with a
PoP's label use that PoP's edge switch and the private backbone in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import networkx

from topologies.model import Network
from topologies.plan import LinkKind, Plan, edge_name

if TYPE_CHECKING:
    Graph: TypeAlias = networkx.Graph[str]
    DiGraph: TypeAlias = networkx.DiGraph[str]


def graph(plan: Plan, kinds: Iterable[LinkKind] = tuple(LinkKind)) -> Graph:
    """Every switch and host, and the links of the kinds wanted.

    Edges have ``delay_ns``, ``kind`` and ``link`` (the LinkPlan).
    """
    wanted = set(kinds)
    found: Graph = networkx.Graph()
    found.add_nodes_from(switch.name for switch in plan.switches)
    found.add_nodes_from(host.name for host in plan.hosts)
    for link in plan.links:
        if link.kind in wanted:
            attributes = {"delay_ns": link.line.delay_ns, "kind": link.kind, "link": link}
            found.add_edge(link.a.node, link.b.node, **attributes)
    return found


def city_graph(network: Network) -> Graph:
    """The cities (by code) and the long-haul links between them, with ``delay_ns``."""
    found: Graph = networkx.Graph()
    found.add_nodes_from(city.code for city in network.cities)
    for link in network.links:
        found.add_edge(link.a, link.b, delay_ns=link.line.delay_ns)
    return found


def city_delays(network: Network) -> dict[str, dict[str, int]]:
    """The least delay between any two cities, transit links only: ``[from][to]``."""
    cities = city_graph(network)
    return {city: _least(cities, city) for city in cities}


def route(plan: Plan, source: str, target: str) -> list[str]:
    """The nodes from one host or switch to another for packets without a label.

    Never over the backbone, and through no PoP but the first and the last.
    """
    plain = graph(plan, set(LinkKind) - {LinkKind.BACKBONE})
    return networkx.shortest_path(plain, source, target, weight="delay_ns")


def label_route(plan: Plan, source: str, pop: str) -> list[str]:
    """The nodes from a switch to a PoP's edge switch for packets with that PoP's label.

    Edge switches may use the backbone and their uplink; transit switches never go down to an
    edge other than the target. That keeps any assignment of clients to PoPs free of loops.
    """
    target = edge_name(pop)
    found: DiGraph = graph(plan).to_directed()
    for switch in plan.transits:
        for link in plan.links_of(switch.name):
            down = link.far(switch.name).node
            if link.kind is LinkKind.UPLINK and down != target:
                found.remove_edge(switch.name, down)
    return networkx.shortest_path(found, source, target, weight="delay_ns")


def delay_ns(plan: Plan, nodes: list[str]) -> int:
    """The delay of a way, given as its nodes. Raises KeyError where no link is."""
    return sum(plan.link_between(a, b).line.delay_ns for a, b in pairwise(nodes))


def delays(plan: Plan, source: str) -> dict[str, int]:
    """The delay from one host or switch to every other node, for packets without a label."""
    return _least(graph(plan, set(LinkKind) - {LinkKind.BACKBONE}), source)


def service_delays(plan: Plan, city: str) -> dict[str, int]:
    """The delay from a city's transit switch to each PoP's edge switch (keyed by PoP)."""
    found = delays(plan, plan.transit(city).name)
    return {edge.city: found[edge.name] for edge in plan.edges}


def _least(graph: Graph, source: str) -> dict[str, int]:
    found = networkx.single_source_dijkstra_path_length(graph, source, weight="delay_ns")
    return {node: int(delay) for node, delay in found.items()}
