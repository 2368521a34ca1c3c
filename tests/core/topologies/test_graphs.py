from pathlib import Path

import networkx
import pytest
import topohub

from topologies import sources
from topologies.geography import fibre_delay_ns
from topologies.graphs import _codes, topohub_keys
from topologies.plan import plan
from topologies.sources import NetworkError


def test_codes_are_short_unique_and_always_the_same() -> None:
    names = ["New York", "Newark", "New Orleans", "Zürich", "東京", "", "Lo", "Lo", "New York"]
    codes = list(_codes(names))
    assert codes == ["NEW", "NEA", "NEO", "ZUR", "X", "X2", "LO", "LO2", "NEY"]


def test_abilene() -> None:
    network = sources.load("topozoo/Abilene")
    assert (network.name, len(network.cities), len(network.links)) == ("Abilene", 11, 14)
    assert {"New York", "Seattle", "Houston"} <= {city.name for city in network.cities}
    assert (len(network.pops), len(network.clients), len(network.origins)) == (5, 11, 3)
    seattle = next(city for city in network.cities if city.name == "Seattle")
    assert (round(seattle.lat), round(seattle.lon)) == (48, -122)


def test_topohub_brings_hundreds_of_networks() -> None:
    keys = topohub_keys()
    assert len(keys) > 500
    assert {"topozoo/Abilene", "sndlib/germany50", "backbone/africa"} <= set(keys)


def test_coordinates_that_are_no_degrees_are_kilometres() -> None:
    network = sources.load("gabriel/25/0")
    raw = topohub.get("gabriel/25/0")
    far = sorted(fibre_delay_ns(edge["dist"], network.path_stretch) for edge in raw["edges"])
    found = sorted(link.line.delay_ns for link in network.links)
    assert found == pytest.approx(far, rel=0.02, abs=2000)


# All of topozoo and sndlib: a few seconds; every one must load, be numbered and be valid.
@pytest.mark.parametrize("group", ["topozoo", "sndlib"])
def test_every_network_of_a_group_loads(group: str) -> None:
    keys = [key for key in topohub_keys() if key.startswith(f"{group}/")]
    refused = []
    for key in keys:
        try:
            plan(sources.load(key, "1"))
        except NetworkError as error:
            refused.append((key, str(error)))
    assert refused == []


def test_sea_cables_are_joined_to_links() -> None:
    network = sources.load("backbone/africa", "3")
    raw = 403
    assert len(network.cities) < raw * 0.7
    graph = networkx.Graph([(link.a, link.b) for link in network.links])
    assert networkx.is_connected(graph)
    # Lisbon to Cape Town along the coast of Africa is some 45 to 70 ms one way.
    longest = max(link.line.delay_ns for link in network.links)
    assert 10e6 < longest < 100e6


def _graphml(tmp_path: Path, **attributes: object) -> Path:
    graph = networkx.Graph()
    graph.add_node("a", label="Anytown", Latitude=50.0, Longitude=8.0, Country="DE")
    graph.add_node("b", **{"label": "Bigtown", "lat": 51.0, "lon": 9.0} | attributes)
    graph.add_edge("a", "b", delay="4 ms")
    path = tmp_path / "my net.graphml"
    networkx.write_graphml(graph, path)
    return path


def test_graphml(tmp_path: Path) -> None:
    network = sources.load(_graphml(tmp_path), "Bigtown")
    assert network.name == "my-net"
    assert [(city.code, city.name, city.country) for city in network.cities] == [
        ("ANY", "Anytown", "DE"),
        ("BIG", "Bigtown", ""),
    ]
    assert network.links[0].line.delay_ns == 4_000_000
    assert [pop.city for pop in network.pops] == ["BIG"]


def test_graphml_without_positions_is_refused(tmp_path: Path) -> None:
    graph = networkx.Graph([("a", "b")])
    path = tmp_path / "bare.graphml"
    networkx.write_graphml(graph, path)
    with pytest.raises(NetworkError) as caught:
        sources.load(path)
    assert len(caught.value.problems) == 4
    assert f"{path}: node.a: has no latitude; give it Latitude in degrees" in str(caught.value)


def test_what_is_no_graphml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.graphml"
    path.write_text("<graph")
    with pytest.raises(NetworkError, match="not GraphML"):
        sources.load(path)
