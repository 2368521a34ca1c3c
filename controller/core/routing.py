"""Routes: where each switch sends a packet for a PoP's label, or for a city, and where instead.

All routes are shortest paths by one-way delay. They are chosen per target, towards the target,
in a graph where every step has a positive cost, so each hop is strictly nearer than the last
and no route can loop. Ties go to fewer hops, then to the lower port number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from controller.core.detours import RELAY, Arc, Graph, Ports, Ways, costs, ways
from controller.core.world import FABRIC, World
from topologies import shortest
from topologies.plan import LinkKind, LinkPlan, Plan, SwitchPlan, SwitchRole

__all__ = [
    "Egress",
    "Routes",
    "costs",
    "distances",
    "fabric_ports",
    "label_graph",
    "routes",
    "uplink",
    "uplink_port",
]

HOP = 1
DELAY = 1 << 20
"""A path's cost is ``delay_ns * DELAY + hops * HOP``: delay decides, then the number of hops."""


@dataclass(frozen=True, slots=True)
class Egress:
    """The way out of a PoP whose uplink is dead: over the backbone and another PoP's uplink.

    ``city`` is the number of the city where it comes out, ``dead`` the uplink's, ``ports`` are the
    next hops of the edge switches on the way, the PoP's own first.
    """

    city: int
    dead: int
    ports: Ports


@dataclass(frozen=True, slots=True)
class Routes:
    """Where to send what.

    ``labels[pop]`` are the ways to a PoP's edge switch, ``cities[city]`` those to a city's transit
    switch, from the other transit switches. ``egress[edge]`` are the PoPs that have a second way
    out.
    """

    labels: Mapping[str, Ways]
    cities: Mapping[str, Ways]
    egress: Mapping[str, Egress]


def routes(world: World) -> Routes:
    """Every route over the links that are up, with its detours if the network wants failover.

    Between routers that speak BGP nothing is ours: labels stay on the backbone then.
    """
    plan, detours = world.plan, world.plan.network.failover
    if plan.routers:
        private = private_graph(world)
        by_label = {x.city: ways(private, x.name, detours=detours) for x in plan.edges}
        return Routes(by_label, {}, {})
    transit = transit_graph(world)
    edges = frozenset(edge.name for edge in plan.edges)
    labels = {
        edge.city: ways(relay_graph(world, edge), edge.name, edges, detours=detours)
        for edge in plan.edges
    }
    cities = {switch.city: ways(transit, switch.name, detours=detours) for switch in plan.transits}
    found = ((edge.name, _egress(world, edge)) for edge in plan.edges if detours)
    return Routes(labels, cities, {name: way for name, way in found if way is not None})


def transit_graph(world: World) -> Graph:
    """The transit switches and the links between them."""
    graph: Graph = {switch.name: {} for switch in world.plan.transits}
    for switch in world.plan.transits:
        _add_arcs(graph, world, switch, frozenset({LinkKind.TRANSIT}))
    return graph


def private_graph(world: World) -> Graph:
    """The edge switches and the backbone between them."""
    graph: Graph = {edge.name: {} for edge in world.plan.edges}
    for edge in world.plan.edges:
        _add_arcs(graph, world, edge, frozenset({LinkKind.BACKBONE}))
    return graph


def upward_graph(world: World) -> Graph:
    """The transit switches, and the edge switches' backbone links and uplinks: no way down."""
    graph = transit_graph(world)
    graph.update((edge.name, {}) for edge in world.plan.edges)
    for edge in world.plan.edges:
        _add_arcs(graph, world, edge, frozenset({LinkKind.UPLINK, LinkKind.BACKBONE}))
    return graph


def label_graph(world: World, target: SwitchPlan) -> Graph:
    """Where packets labelled for the edge switch ``target`` may go.

    Edge switches use their backbone links and their uplink. Transit switches go down to no edge
    switch but the target, so a PoP never carries other PoPs' traffic between two transits.
    """
    graph = upward_graph(world)
    _add_arcs(graph, world, world.plan.transit(target.city), frozenset({LinkKind.UPLINK}))
    return graph


def relay_graph(world: World, target: SwitchPlan) -> Graph:
    """The same with a last resort: down to another PoP, which goes on over the backbone."""
    graph = label_graph(world, target)
    for edge in world.plan.edges:
        if edge.name != target.name:
            home = world.plan.transit(edge.city)
            _add_arcs(graph, world, home, frozenset({LinkKind.UPLINK}), RELAY)
    return graph


def _add_arcs(
    graph: Graph, world: World, switch: SwitchPlan, kinds: frozenset[LinkKind], more: int = 0
) -> None:
    """Add one arc per neighbour: the cheapest link that is up, then the lowest port."""
    arcs = graph[switch.name]
    for link in world.plan.links_of(switch.name):
        if link.kind not in kinds or not world.is_up(link):
            continue
        far, port = link.far(switch.name).node, link.near(switch.name).port
        assert port is not None
        arc = Arc(world.delay_ns(link) * DELAY + HOP + more, port, link.number)
        if far not in arcs or arc.cost < arcs[far].cost:
            arcs[far] = arc


def distances(world: World, links: Iterable[LinkPlan]) -> dict[str, int]:
    """What it costs every switch to get to the nearest end of these links, where it can."""
    graph = upward_graph(world)
    found: dict[str, int] = {}
    for end in (end for link in links for end in (link.a, link.b)):
        for name, cost in costs(graph, end.node).items():
            found[name] = min(cost, found.get(name, cost))
    return found


def _egress(world: World, edge: SwitchPlan) -> Egress | None:
    """The shortest way to another city over backbone links and one uplink; None without one."""
    plan, graph = world.plan, {switch.name: dict[str, Arc]() for switch in world.plan.switches}
    for switch in plan.edges:
        _add_arcs(graph, world, switch, frozenset({LinkKind.UPLINK, LinkKind.BACKBONE}))
    graph[edge.name].pop(plan.transit(edge.city).name, None)
    steps = {name: {far: arc.cost for far, arc in arcs.items()} for name, arcs in graph.items()}
    reached = shortest.costs(steps, edge.name)
    cities = [(reached[x.name], x.number) for x in plan.transits if x.name in reached]
    if not cities:
        return None
    _, number = min(cities)
    way = shortest.path(steps, edge.name, plan.transits[number - 1].name)
    ports = {at: graph[at][far].port for at, far in pairwise(way)}
    return Egress(number, uplink(plan, edge).number, ports)


def uplink(plan: Plan, edge: SwitchPlan) -> LinkPlan:
    """The link of an edge switch to its city's transit switch."""
    assert edge.role is SwitchRole.EDGE
    return plan.link_between(edge.name, plan.transit(edge.city).name)


def uplink_port(plan: Plan, edge: SwitchPlan) -> int:
    """The edge switch's port of its uplink."""
    port = uplink(plan, edge).near(edge.name).port
    assert port is not None
    return port


def fabric_ports(plan: Plan, switch: SwitchPlan) -> tuple[int, ...]:
    """The ports of a switch that lead to other switches, in order."""
    ports = [
        link.near(switch.name).port for link in plan.links_of(switch.name) if link.kind in FABRIC
    ]
    return tuple(sorted(port for port in ports if port is not None))
