"""Least costs in a graph, by Dijkstra's algorithm.

networkx has it too, and the tests hold this against it, but importing networkx takes every program
of a lab a third of a second, and more than twice that in a guest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

Graph = Mapping[str, Mapping[str, int]]
"""From each node to each neighbour: what the step costs, 0 or more."""


def costs(graph: Graph, source: str) -> dict[str, int]:
    """The least cost from ``source`` to every node that it reaches. Raises KeyError."""
    return {node: cost for node, cost, _ in _settled(graph, source)}


def path(graph: Graph, source: str, target: str) -> list[str]:
    """The nodes of a way of least cost. Raises KeyError if there is no way.

    Of equal ways it is always the same one, whatever the order in which the graph was built.
    """
    before = {node: last for node, _, last in _settled(graph, source)}
    way = [target]
    while way[-1] != source:
        way.append(before[way[-1]])
    return way[::-1]


def _settled(graph: Graph, source: str) -> Iterator[tuple[str, int, str]]:
    """Every node within reach, the nearest first, with its cost and the node before it."""
    waiting = [(0, source, source)]
    done: set[str] = set()
    while waiting:
        cost, node, before = heapq.heappop(waiting)
        if node in done:
            continue
        done.add(node)
        yield node, cost, before
        for neighbour, step in graph[node].items():
            if neighbour not in done:
                heapq.heappush(waiting, (cost + step, neighbour, node))
