from itertools import pairwise

import networkx
from hypothesis import given, settings

from tests.core.topologies.network_strategies import networks
from topologies import paths, sources
from topologies.model import Network
from topologies.plan import HostRole, LinkKind, SwitchRole, plan


@given(networks())
def test_the_graph_has_every_node_and_link(network: Network) -> None:
    p = plan(network)
    graph = paths.graph(p)
    assert set(graph) == {node.name for node in (*p.switches, *p.hosts)}
    assert sum(map(len, graph.values())) == 2 * len(p.links)
    for link in p.links:
        delay_ns = link.line.delay_ns
        assert graph[link.a.node][link.b.node] == graph[link.b.node][link.a.node] == delay_ns


@given(networks())
def test_delays_are_those_that_networkx_finds(network: Network) -> None:
    p = plan(network)
    other: networkx.Graph[str] = networkx.Graph()
    other.add_nodes_from(node.name for node in (*p.switches, *p.hosts))
    for link in p.links:
        if link.kind is not LinkKind.BACKBONE:
            other.add_edge(link.a.node, link.b.node, delay_ns=link.line.delay_ns)
    for source in (p.hosts[0].name, p.transits[-1].name):
        found = networkx.single_source_dijkstra_path_length(other, source, weight="delay_ns")
        assert paths.delays(p, source) == found
        for target in other:
            way = paths.route(p, source, target)
            assert networkx.is_simple_path(other, way)
            assert networkx.path_weight(other, way, "delay_ns") == found[target]


@settings(max_examples=30)
@given(networks())
def test_delays_are_those_of_routes_and_of_cities(network: Network) -> None:
    p = plan(network)
    far = paths.city_delays(network)
    for host in p.hosts_of(HostRole.CLIENT)[:2]:
        delays = paths.delays(p, host.name)
        for server in p.hosts_of(HostRole.SERVER)[:4]:
            way = paths.route(p, host.name, server.name)
            assert paths.delay_ns(p, way) == delays[server.name]
            access = p.links_of(host.name)[0].line.delay_ns
            uplink = p.links_of(server.switch)[0].line.delay_ns
            assert delays[server.name] == access + far[host.city][server.city] + uplink
            assert delays[server.name] == access + paths.service_delays(p, host.city)[server.city]
            edges = [node for node in way if node in {edge.name for edge in p.edges}]
            assert edges == [server.switch]


@settings(max_examples=30)
@given(networks())
def test_a_labelled_packet_goes_down_only_at_its_pop(network: Network) -> None:
    p = plan(network)
    for switch in p.switches[:6]:
        for edge in p.edges:
            way = paths.label_route(p, switch.name, edge.city)
            assert (way[0], way[-1]) == (switch.name, edge.name)
            for a, b in pairwise(way):
                down = p.link_between(a, b).kind is LinkKind.UPLINK and b.startswith("e")
                assert not (down and p.switch(b).role is SwitchRole.EDGE and b != edge.name)


def test_the_backbone_is_for_labels_only() -> None:
    p = plan(sources.load("europe"))
    assert paths.label_route(p, "eLHR", "FRA") == ["eLHR", "eFRA"]
    way = paths.route(p, "LHR-s1", "FRA-s1")
    assert way[:3] == ["LHR-s1", "eLHR", "tLHR"]
    assert way[-3:] == ["tFRA", "eFRA", "FRA-s1"]
