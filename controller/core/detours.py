"""Shortest ways to one target, and for each next hop a detour that is known before its link dies.

The vocabulary is that of fast reroute (RFC 5286, RFC 5714), the method that of failure-carrying
packets (Lakshminarayanan et al., SIGCOMM 2007): a packet that finds its link dead carries the
link's number from there on, and every switch on the detour sends it on as if that link were not
there. What carries a number finds no second detour: two failures lose it, and it cannot loop.

A detour begins at the one switch whose next hop goes over the link. Only switches whose usual way
leads through what failed, those *behind* it, have another next hop on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass

from topologies import shortest

RELAY = 1 << 100
"""What a step of last resort costs: more than any way without one."""

Ports = Mapping[str, int]
"""Switch name to port number."""


@dataclass(frozen=True, slots=True)
class Arc:
    """A step from one switch to the next: its cost, the port that leads there, the link."""

    cost: int
    port: int
    link: int


Graph = dict[str, dict[str, Arc]]
"""From each switch to each neighbour."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What a switch does when the link of its next hop is dead: by which port instead.

    ``relayed`` says that the detour takes a step of last resort.
    """

    link: int
    port: int
    relayed: bool


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways to one target from every other switch that can reach it.

    ``ports`` are the next hops, ``backups`` what to do when the next link is dead, where there is a
    detour. ``detours[switch][link]`` is the port for what carries a dead link's number, at the
    further switches of a detour where it is not the usual port.
    """

    ports: Ports
    backups: Mapping[str, Backup]
    detours: Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class _Tree:
    """Shortest paths to a target: costs, next hops, whose next hop a switch is; arcs backwards."""

    graph: Graph
    back: Mapping[str, Mapping[str, int]]
    cost: Mapping[str, int]
    hops: Mapping[str, str]
    children: Mapping[str, list[str]]


def costs(graph: Graph, target: str) -> dict[str, int]:
    """The cost from every switch that can reach ``target``."""
    return shortest.costs(_backwards(graph), target)


def ways(graph: Graph, target: str, fragile: Container[str] = (), *, detours: bool = True) -> Ways:
    """The ways to ``target``; ties go to the lower port.

    A detour avoids the next switch altogether where that is ``fragile`` and can be avoided (node
    protection, RFC 5286 section 3.3), else only the link to it.
    """
    tree = _tree(graph, target)
    ports = {name: graph[name][far].port for name, far in tree.hops.items()}
    backups: dict[str, Backup] = {}
    further: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for name, far in tree.hops.items() if detours else ():
        link = graph[name][far].link
        steps = tuple(_round_switch(tree, name)) if far in fragile and far != target else ()
        for at, port, cost in steps or _round_link(tree, name):
            if at == name:
                backups[at] = Backup(link, port, relayed=cost >= RELAY)
            else:
                further[at][link] = port
    return Ways(ports, backups, dict(further))


def _backwards(graph: Graph) -> dict[str, dict[str, int]]:
    back: dict[str, dict[str, int]] = {name: {} for name in graph}
    for name, arcs in graph.items():
        for far, arc in arcs.items():
            back[far][name] = arc.cost
    return back


def _tree(graph: Graph, target: str) -> _Tree:
    back = _backwards(graph)
    cost = shortest.costs(back, target)
    hops = {}
    children: defaultdict[str, list[str]] = defaultdict(list)
    for name in graph:
        if name != target and name in cost:
            hops[name] = _best(graph[name], cost.get)[0]
            children[hops[name]].append(name)
    return _Tree(graph, back, cost, hops, children)


def _best(arcs: Mapping[str, Arc], cost: Callable[[str], int | None]) -> tuple[str, int, int]:
    """The neighbour on the cheapest way, its port, and what the way costs; then the lowest port."""
    ways_on = [
        (arc.cost + beyond, arc.port, far)
        for far, arc in arcs.items()
        if (beyond := cost(far)) is not None
    ]
    total, port, far = min(ways_on)
    return far, port, total


_Step = tuple[str, int, int]
"""A switch of a detour, the port by which to leave it, the cost of what is left."""


def _round_link(tree: _Tree, start: str) -> Iterator[_Step]:
    """The detour of a switch when the link to its next hop is dead; nothing if there is none."""
    step = (start, tree.hops[start])
    return _detour(tree, start, _behind(tree, start), lambda at, far: (at, far) == step)


def _round_switch(tree: _Tree, start: str) -> Iterator[_Step]:
    """The same when the next hop itself is dead."""
    dead = tree.hops[start]
    return _detour(tree, start, _behind(tree, dead) - {dead}, lambda _, far: far == dead)


def _behind(tree: _Tree, name: str) -> set[str]:
    """A switch and all whose ways lead through it."""
    found, new = {name}, [name]
    while new:
        more = tree.children.get(new.pop(), ())
        found.update(more)
        new += more
    return found


def _detour(
    tree: _Tree, start: str, behind: set[str], lost: Callable[[str, str], bool]
) -> Iterator[_Step]:
    """The steps from ``start`` until the first switch that is not behind the failure."""
    cost = _costs_behind(tree, behind, lost)

    def beyond(far: str) -> int | None:
        return (cost if far in behind else tree.cost).get(far)

    at = start
    while at in behind and at in cost:
        arcs = {far: arc for far, arc in tree.graph[at].items() if not lost(at, far)}
        far, port, left = _best(arcs, beyond)
        yield at, port, left
        at = far


def _costs_behind(
    tree: _Tree, behind: set[str], lost: Callable[[str, str], bool]
) -> dict[str, int]:
    """The cost from every switch behind a failure that still reaches the target.

    All that is not behind it is one place, because its own costs have not changed.
    """
    outside = ""
    back: dict[str, dict[str, int]] = {outside: {}}
    for at in behind:
        back[at] = {x: step for x, step in tree.back[at].items() if x in behind}
        exits = [
            arc.cost + tree.cost[far]
            for far, arc in tree.graph[at].items()
            if far not in behind and far in tree.cost and not lost(at, far)
        ]
        if exits:
            back[outside][at] = min(exits)
    return shortest.costs(back, outside)
