"""Next hops: where each switch sends a packet for a PoP's label, or for a switch's prefix.

All routes are shortest paths by one-way delay. They are chosen per target, towards the target,
in a graph where every step has a positive cost, so each hop is strictly nearer than the last
and no route can loop. Ties go to fewer hops, then to the lower port number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.core.world import FABRIC, World
from topologies import shortest
from topologies.plan import LinkKind, Plan, SwitchPlan, SwitchRole

HOP = 1
DELAY = 1 << 20
"""A path's cost is ``delay_ns * DELAY + hops * HOP``: delay decides, then the number of hops."""

Ports = Mapping[str, int]
"""Switch name to port number."""


@dataclass(frozen=True, slots=True)
class Routes:
    """Where to send what.

    ``labels[pop][switch]`` is the port towards a PoP's edge switch, from every other switch that
    can reach it. ``prefixes[target][switch]`` is the port towards the switch ``target``, from
    the transit switches that can reach it (edge switches use their uplink).
    """

    labels: Mapping[str, Ports]
    prefixes: Mapping[str, Ports]


def routes(world: World) -> Routes:
    """Every route over the links that are up."""
    plan = world.plan
    labels = {edge.city: _ports(plan, edge.name, label_graph(world, edge)) for edge in plan.edges}
    transit = transit_graph(world)
    prefixes = {switch.name: _ports(plan, switch.name, transit) for switch in plan.transits}
    for edge in plan.edges:
        home = plan.transit(edge.city).name
        uplink = plan.link_between(edge.name, home)
        down = uplink.near(home).port
        assert down is not None
        prefixes[edge.name] = {**prefixes[home], home: down} if world.is_up(uplink) else {}
    return Routes(labels, prefixes)


@dataclass(frozen=True, slots=True)
class Arc:
    """A step from one switch to the next: its cost, and the port that leads there."""

    cost: int
    port: int


Graph = dict[str, dict[str, Arc]]
"""From each switch to each neighbour."""


def transit_graph(world: World) -> Graph:
    """The transit switches and the links between them."""
    graph: Graph = {switch.name: {} for switch in world.plan.transits}
    for switch in world.plan.transits:
        _add_arcs(graph, world, switch, frozenset({LinkKind.TRANSIT}))
    return graph


def label_graph(world: World, target: SwitchPlan) -> Graph:
    """Where packets labelled for the edge switch ``target`` may go.

    Edge switches use their backbone links and their uplink. Transit switches go down to no edge
    switch but the target, so a PoP never carries other PoPs' traffic between two transits.
    """
    plan, graph = world.plan, transit_graph(world)
    graph.update((edge.name, {}) for edge in plan.edges)
    for edge in plan.edges:
        _add_arcs(graph, world, edge, frozenset({LinkKind.UPLINK, LinkKind.BACKBONE}))
    _add_arcs(graph, world, plan.transit(target.city), frozenset({LinkKind.UPLINK}))
    return graph


def _add_arcs(graph: Graph, world: World, switch: SwitchPlan, kinds: frozenset[LinkKind]) -> None:
    """Add one arc per neighbour: the cheapest link that is up, then the lowest port."""
    arcs = graph[switch.name]
    for link in world.plan.links_of(switch.name):
        if link.kind not in kinds or not world.is_up(link):
            continue
        far, port = link.far(switch.name).node, link.near(switch.name).port
        assert port is not None
        arc = Arc(world.delay_ns(link) * DELAY + HOP, port)
        if far not in arcs or arc.cost < arcs[far].cost:
            arcs[far] = arc


def costs(graph: Graph, target: str) -> dict[str, int]:
    """The cost from every switch that can reach ``target``."""
    back: dict[str, dict[str, int]] = {name: {} for name in graph}
    for name, arcs in graph.items():
        for far, arc in arcs.items():
            back[far][name] = arc.cost
    return shortest.costs(back, target)


def _ports(plan: Plan, target: str, graph: Graph) -> dict[str, int]:
    """The port towards ``target`` at every other switch of the graph that can reach it."""
    cost = costs(graph, target)
    result = {}
    for switch in plan.switches:
        if switch.name == target or switch.name not in cost:
            continue
        _, port = min(
            (arc.cost + cost[far], arc.port)
            for far, arc in graph[switch.name].items()
            if far in cost
        )
        result[switch.name] = port
    return result


def uplink_port(plan: Plan, edge: SwitchPlan) -> int:
    """The port of an edge switch that leads to its city's transit switch."""
    assert edge.role is SwitchRole.EDGE
    port = plan.link_between(edge.name, plan.transit(edge.city).name).near(edge.name).port
    assert port is not None
    return port


def fabric_ports(plan: Plan, switch: SwitchPlan) -> tuple[int, ...]:
    """The ports of a switch that lead to other switches, in order."""
    ports = [
        link.near(switch.name).port for link in plan.links_of(switch.name) if link.kind in FABRIC
    ]
    return tuple(sorted(port for port in ports if port is not None))
