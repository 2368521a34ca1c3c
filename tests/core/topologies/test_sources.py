import json
import subprocess
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given

from tests.core.topologies.network_strategies import networks
from topologies import sources
from topologies.explicit import dump_json, parse_json
from topologies.model import Attachment, Line, Network, Pool, Pop
from topologies.schema import json_schema
from topologies.sources import NetworkError
from topologies.validate import problems

SCHEMA = Path(sources.__file__).with_name("network.schema.json")


@given(networks())
def test_any_network_has_no_problem_and_survives_json(network: Network) -> None:
    assert problems(network) == []
    assert parse_json(dump_json(network)) == network


def test_json_of_before_service_prefixes_is_understood() -> None:
    network = sources.load("triangle")
    data = json.loads(dump_json(network))
    del data["service_prefixes"]
    data["services"] = ["198.51.100.1"]
    assert parse_json(json.dumps(data)) == network


@pytest.mark.parametrize("name", ["triangle", "europe", "world"])
def test_the_catalog_loads_from_its_json_too(name: str, tmp_path: Path) -> None:
    network = sources.load(name)
    path = tmp_path / "network.json"
    path.write_text(sources.dump_json(network))
    assert sources.load(path) == network
    assert network.name == name


def test_the_catalog_is_what_was_promised() -> None:
    found = {name: sources.load(name) for name, _ in sources.catalog()}
    sizes = {
        name: (len(n.cities), len(n.links), [pop.servers for pop in n.pops], len(n.clients))
        for name, n in found.items()
    }
    assert sizes["triangle"] == (3, 3, [2, 2, 2], 3)
    assert sizes["europe"] == (28, 41, [3] * 5, 28)
    assert sizes["world"] == (38, 62, [2] * 12, 38)
    assert [len(found[name].origins) for name in ("triangle", "europe", "world")] == [1, 3, 4]
    assert all(description for _, description in sources.catalog())


def test_europe_has_the_links_of_nobel_eu() -> None:
    europe, nobel = sources.load("europe"), sources.load("sndlib/nobel-eu")
    names = {city.code: city.name for city in nobel.cities}
    assert {city.name for city in europe.cities} == set(names.values())
    ours = {frozenset((europe.city(x.a).name, europe.city(x.b).name)) for x in europe.links}
    assert ours == {frozenset((names[x.a], names[x.b])) for x in nobel.links}


def test_explicit_json_needs_no_heavy_library(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text(sources.dump_json(sources.load("world")))
    program = (
        "import sys; from topologies import sources; sources.load(sys.argv[1]);"
        "print(*{'airportsdata', 'pydantic', 'topohub', 'networkx', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
    took = []
    for _ in range(5):
        start = time.perf_counter()
        sources.load(path)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.05


def test_the_json_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == json_schema(), (
        "python -m topologies.schema > topologies/network.schema.json"
    )


def test_a_file_with_every_short_form(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("""
name: two
cities: [LHR, {code: NO1, name: Oslo, lat: 60.2, lon: 11.1, country: NO}, {code: CDG, name: P}]
links: [[LHR, NO1], {between: [NO1, CDG], delay: 10 ms, rate: 1 Gbit, loss: 0.1 %, jitter: 1 ms}]
pops: [LHR, {city: CDG, servers: 3, uplink: {delay: 0, limit_packets: 9}}]
clients: every city
origins: [{city: every city, count: 2, access: {delay: 3 ms}}, LHR]
pools: [192.0.2.0/28, {prefix: 100.64.0.0/24, tag: cgn, country: DE}]
""")
    network = sources.load(path)
    codes = ["LHR", "NO1", "CDG"]
    assert [city.code for city in network.cities] == codes
    assert network.city("NO1").country == "NO"
    assert (network.city("CDG").name, network.city("CDG").country) == ("P", "FR")
    far = Line(10**7, 10**6, 0.001, 10**9)
    assert network.links[1].line == far
    assert network.links[0].line.delay_ns == pytest.approx(9_000_000, rel=0.05)
    assert network.pops == (Pop("LHR", 2), Pop("CDG", 3, Line(0, limit_packets=9)))
    assert network.clients == tuple(Attachment(code) for code in codes)
    assert network.origins == (
        *(Attachment(code, 2, Line(3_000_000)) for code in codes),
        Attachment("LHR"),
    )
    assert network.pools[1] == Pool(IPv4Network("100.64.0.0/24"), "cgn", "DE")


def test_a_written_file_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text('{"name": "one", "cities": ["LHR"],\n\t"pops": ["LHR"]}')
    assert sources.load(path).pops == (Pop("LHR", 2),)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("triangel", "there is no network 'triangel'; did you mean 'triangle'?"),
        (
            "topozoo/Abilen",
            "topohub has no network 'topozoo/Abilen'; did you mean 'topozoo/Abilene'?",
        ),
        ("../secrets", "topohub has no network '../secrets'"),
        ("nowhere.yaml", "nowhere.yaml: there is no such file; check the path"),
        ("../catalog/europe", "topohub has no network"),
        ("", "there is no network ''"),
    ],
)
def test_unknown_networks_are_refused(ref: str, message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        sources.load(ref)
    assert message in str(caught.value)


@pytest.mark.parametrize("damage", ["", ', "name": 3', ', "surprise": 1'])
def test_damaged_json_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    path.write_text('{"format": "poplab-network-1"' + damage + "}")
    with pytest.raises(NetworkError, match="damaged"):
        sources.load(path)


def test_explicit_json_is_validated(tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    text = sources.dump_json(sources.load("triangle")).replace('"servers": 2', '"servers": 0', 1)
    path.write_text(text)
    with pytest.raises(NetworkError, match=r"network\.json: pops\[0\]\.servers: 0 servers"):
        sources.load(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NetworkError, match="readable text"):
        sources.load(path)


@pytest.mark.parametrize("word", ["true", "True", "TRUE", "false", "False", "FALSE"])
def test_yes_and_no_are_said_in_a_file(word: str) -> None:
    head = "name: x\ncities: [NO]\npops: [NO]\n".replace("NO", "LHR")
    network = sources.parse(f"{head}failover: {word}\nsecond_chance: {word}\n", "x.yaml")
    assert network.failover is network.second_chance is (word.lower() == "true")


def test_norway_is_no_answer() -> None:
    text = "name: no\ncities: [{code: NO, lat: 60, lon: 10, country: NO}]\npops: [NO]\n"
    (city,) = sources.parse(text, "x.yaml").cities
    assert (city.code, city.country) == ("NO", "NO")


def test_a_policy_by_option_is_one_that_the_network_can_have(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nupstream: bgp\ncities: [LHR]\npops: [LHR]\n")
    with pytest.raises(NetworkError, match="not steered by nearest"):
        sources.load(path, steering="nearest")
