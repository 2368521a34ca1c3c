from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.image import imread

from tests.core.topologies.network_strategies import networks
from topologies import describe, sources
from topologies import map as network_map
from topologies.model import Attachment, City, Line, Link, Network, Pool, Pop
from topologies.plan import plan


@settings(max_examples=20)
@given(networks())
def test_tables_are_full_of_text(network: Network) -> None:
    for table in describe.tables(plan(network)):
        assert table.rows or table.title == "Links"
        for row in table.rows:
            assert len(row) == len(table.columns)
            assert all(isinstance(cell, str) and cell for cell in row if cell != "")


def test_the_tables_of_triangle() -> None:
    pops, links, addresses = describe.tables(plan(sources.load("triangle")))
    assert pops.rows[0] == ("LHR", "London", "2", "0.25 ms", "-")
    assert links.rows[0] == ("LHR", "ARN", "transit", "10.98 ms", "-")
    assert (
        "203.0.113.0/24",
        "lending pool, tag any",
        "31 port sets of 2048 ports per address",
    ) in (addresses.rows)
    assert ("172.18.0.0/16", "PoP ARN", "ARN-s1 ... ARN-s2") in addresses.rows
    assert ("10.2.0.0/16", "city ARN", "ARN-c1, ARN-o1") in addresses.rows


def test_limits_are_spelled_out() -> None:
    line = Line(10**7, 10**6, 0.01, 10**9, 50)
    assert describe.milliseconds(line) == "10.00 ms ± 1 ms"
    assert describe.limits(line) == "1 Gbit, 1 % loss, 50 packets"


def test_a_pool_of_other_port_sets() -> None:
    network = replace(
        sources.load("triangle"), pools=(Pool(IPv4Network("192.0.2.0/30"), "x"),), port_set_bits=12
    )
    rows = describe.addresses(plan(network)).rows
    assert ("192.0.2.0/30", "lending pool, tag x", "4032 port sets of 16 ports per address") in rows


def _colours(path: Path) -> set[tuple[int, ...]]:
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    packed = np.unique(pixels @ [1 << 16, 1 << 8, 1])
    return {tuple(int(colour).to_bytes(3, "big")) for colour in packed}


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize("name", ["triangle", "europe", "world"])
def test_maps_show_land_and_every_pop(name: str, tmp_path: Path) -> None:
    network = sources.load(name)
    path = network_map.draw(network, tmp_path / "map.png")
    found = _colours(path)
    assert {_rgb(network_map.LAND), _rgb(network_map.SEA)} <= found
    used = network_map.COLOURS[: len(network.pops)]
    assert {_rgb(colour) for colour in used} <= found


def test_a_catchment_colours_the_clients(tmp_path: Path) -> None:
    network = sources.load("europe", "LHR,FRA")
    catchment = {city.code: "FRA" for city in network.cities}
    plain = imread(network_map.draw(network, tmp_path / "plain.png"))
    coloured = imread(network_map.draw(network, tmp_path / "all.png", catchment))
    second = np.array(_rgb(network_map.COLOURS[1])) / 255

    def count(image: np.ndarray) -> int:
        return int(np.isclose(image[..., :3], second, atol=0.01).all(axis=2).sum())

    assert count(coloured) > 3 * count(plain)


@pytest.mark.filterwarnings("ignore:Glyph")  # names in scripts that the font lacks
@settings(max_examples=4)
@given(network=networks(max_cities=4))
def test_any_network_can_be_drawn(
    tmp_path_factory: pytest.TempPathFactory, network: Network
) -> None:
    path = network_map.draw(network, tmp_path_factory.mktemp("maps") / "map.png")
    assert path.stat().st_size > 1000


def test_a_dollar_is_no_formula(tmp_path: Path) -> None:
    network = sources.load("triangle")
    cities = tuple(replace(city, name="$\\bad{$") for city in network.cities)
    odd = replace(network, cities=cities, description="$\\bad{$")
    assert network_map.draw(odd, tmp_path / "map.png").exists()


@pytest.mark.parametrize("latitudes", [(-62.0, -62.0), (89.0, 88.0), (-89.0, -80.0), (90.0, -90.0)])
def test_cities_at_the_poles_can_be_drawn(latitudes: tuple[float, float], tmp_path: Path) -> None:
    cities = tuple(City(f"C{n}", f"C{n}", lat, 10.0 * n) for n, lat in enumerate(latitudes))
    network = replace(
        sources.load("triangle"),
        cities=cities,
        links=(Link("C0", "C1", Line(1_000_000)),),
        pops=(Pop("C0", 1),),
        backbone=(),
        clients=(Attachment("C1"),),
        origins=(),
    )
    drawn = imread(network_map.draw(network, tmp_path / "pole.png"))
    assert min(drawn.shape[:2]) > 100
