"""Pools that studies add: apart from all else, as large as they must be; refused with the cause."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from experiments import pools
from experiments.errors import UsageError
from experiments.pools import Wanted
from experiments.runs import runner
from topologies.model import Pool
from topologies.sources import load
from topologies.validate import problems


@pytest.mark.parametrize(
    ("ports", "sets"), [(65536, 1), (32768, 1), (2048, 31), (1024, 63), (512, 126), (16, 4032)]
)
def test_system_ports_go_with_a_whole_address_only(ports: int, sets: int) -> None:
    assert pools.sets_per_address(ports) == sets


def test_addresses_are_counted_by_pop() -> None:
    assert pools.addresses_for([31, 32, 0, 1], 2048) == 1 + 2 + 0 + 1


def test_pools_are_apart_and_of_just_the_size() -> None:
    network = load("triangle")
    mine = Pool(IPv4Network("198.18.0.0/24"), "mine")
    network = replace(network, pools=(*network.pools, mine))
    wanted = [Wanted("a", 5, "GB"), Wanted("b", 1), Wanted("a", 8)]
    made = pools.with_pools(network, wanted)
    assert problems(made) == []
    sizes = {tag: sum(x.prefix.num_addresses for x in made.pools if x.tag == tag) for tag in "ab"}
    assert sizes == {"a": 13, "b": 1}
    assert sum(pool.tag == "a" for pool in made.pools) == 3  # /30 and /32, /29


@pytest.mark.parametrize(
    ("study", "network", "params", "cause"),
    [
        ("scarcity", "triangle", {"ports": [100]}, "100 ports is not lent"),
        ("slices", "triangle", {"ports": [100]}, "100 ports is not lent"),
        ("scarcity", "triangle", {"tags": [1.5]}, "tags is a whole number"),
        ("scarcity", "triangle", {"tags": [60_000]}, "198.18.0.0/15 has no room"),
    ],
)
def test_what_cannot_be_lent_is_refused_before_a_lab_is_built(
    study: str, network: str, params: dict[str, object], cause: str
) -> None:
    with pytest.raises(UsageError, match=cause):
        runner.make_spec(study, network, params=params)


def test_geo_needs_a_client_in_a_country() -> None:
    network = load("triangle")
    nowhere = replace(network, cities=tuple(replace(x, country="") for x in network.cities))
    with pytest.raises(UsageError, match="No client of triangle is in a country"):
        runner.make_spec("geo", nowhere)


def test_geo_adds_two_pools_for_each_country_and_borrows_of_one() -> None:
    made = runner.make_spec("geo", "triangle").network
    assert made.borrow == ("any", "gb", "it", "se")
    sizes = {pool.tag: pool.prefix.num_addresses for pool in made.pools if pool.country}
    assert sizes == {"gb": 4, "it": 4, "se": 4, "gb-scarce": 1, "it-scarce": 1, "se-scarce": 1}
