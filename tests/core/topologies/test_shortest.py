"""Least costs and ways, held against networkx."""

from __future__ import annotations

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies import shortest

NODES = [f"n{number}" for number in range(8)]
ARCS = st.dictionaries(
    st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), st.integers(0, 5), max_size=30
)


def graphs(arcs: dict[tuple[str, str], int]) -> tuple[shortest.Graph, networkx.DiGraph[str]]:
    """The same arcs for us and for networkx."""
    ours = {node: {b: cost for (a, b), cost in arcs.items() if a == node} for node in NODES}
    other: networkx.DiGraph[str] = networkx.DiGraph()
    other.add_nodes_from(NODES)
    other.add_weighted_edges_from((a, b, cost) for (a, b), cost in arcs.items())
    return ours, other


@given(ARCS)
def test_costs_and_ways_are_the_least(arcs: dict[tuple[str, str], int]) -> None:
    ours, other = graphs(arcs)
    least = networkx.single_source_dijkstra_path_length(other, NODES[0])
    assert shortest.costs(ours, NODES[0]) == least
    for target in NODES:
        if target not in least:
            with pytest.raises(KeyError):
                shortest.path(ours, NODES[0], target)
            continue
        way = shortest.path(ours, NODES[0], target)
        assert (way[0], way[-1]) == (NODES[0], target)
        assert networkx.path_weight(other, way, "weight") == least[target]


@given(ARCS, st.randoms(use_true_random=False))
def test_the_way_does_not_depend_on_the_graphs_order(
    arcs: dict[tuple[str, str], int], chance: st.random_module
) -> None:
    shuffled = list(arcs.items())
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = graphs(arcs)[0], graphs(dict(shuffled))[0]
    for target in shortest.costs(one, NODES[0]):
        assert shortest.path(one, NODES[0], target) == shortest.path(other, NODES[0], target)
