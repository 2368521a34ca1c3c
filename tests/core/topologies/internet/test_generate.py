"""A drawn Internet has the shape that it promises, and is the same each time."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies.geography import airport, distance_km
from topologies.internet import places
from topologies.internet.generate import ASES, TIER_1, generate
from topologies.internet.graph import Internet, Neighbours, check, circle
from topologies.validate import NetworkError


@pytest.fixture(scope="module")
def internet() -> Internet:
    return generate()


def test_it_has_the_size_of_the_real_one(internet: Internet) -> None:
    assert internet.size == ASES == 75_000
    assert 270_000 <= internet.relations <= 285_000
    assert internet.clients.sum() == pytest.approx(1)
    assert (internet.clients > 0).all()
    assert np.abs(np.bincount(internet.region) / ASES - list(places.SHARES.values())).max() < 0.01


def test_few_ases_have_most_customers(internet: Internet) -> None:
    degrees = np.sort(internet.customers.degrees())[::-1]
    assert degrees[:100].sum() > 0.25 * degrees.sum()
    assert (degrees > 0).mean() < 0.15


def test_every_relation_is_one_and_nobody_pays_in_a_circle(internet: Internet) -> None:
    check(internet)
    assert len(circle(internet)) == 0
    assert (internet.provider < internet.customer).all()
    assert (internet.peer_a < internet.peer_b).all()


def test_all_but_tier_1_pay_and_tier_1_all_peer(internet: Internet) -> None:
    pays = internet.providers.degrees()
    assert (pays[:TIER_1] == 0).all()
    assert (pays[TIER_1:] > 0).all()
    for node in range(TIER_1):
        assert set(range(TIER_1)) - {node} == {int(x) for x in internet.peers[node]}


@given(st.integers(30, 300), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_equal_seeds_give_equal_bytes(ases: int, seed: int) -> None:
    one, other = generate(ases, seed), generate(ases, seed)
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != generate(ases, seed + 1).fingerprint()
    check(one)


def test_too_small_an_internet_is_refused() -> None:
    with pytest.raises(ValueError, match="ask for 30 or more"):
        generate(29)


def test_providers_are_mostly_near(internet: Internet) -> None:
    near = internet.region[internet.provider] == internet.region[internet.customer]
    wide = internet.wide[internet.provider]
    assert near[~wide].mean() > 0.7


def test_distances_are_those_of_cities() -> None:
    cities = [airport(code) for code in ("LHR", "SYD", "JFK", "GRU")]
    internet = generate(30)
    internet.lat[:4], internet.lon[:4] = zip(*((c.lat, c.lon) for c in cities), strict=True)
    here = np.arange(4, dtype=np.int32)
    for number, city in enumerate(cities):
        km = [distance_km(one, city) for one in cities]
        expected = [2000 * 1.5 * x / (299_792.458 * 2 / 3) for x in km]
        assert internet.rtt_ms(here, number) == pytest.approx(expected)


def test_neighbours_of_several_stand_beside_them() -> None:
    here = np.array([2, 0, 2, 1], dtype=np.int32)
    there = np.array([1, 3, 0, 2], dtype=np.int32)
    found = Neighbours.of(4, here, there)
    assert [found[node].tolist() for node in range(4)] == [[3], [2], [0, 1], []]
    tellers, hearers = found.pairs(np.array([2, 3, 0], dtype=np.int32))
    assert tellers.tolist() == [2, 2, 0]
    assert hearers.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("provider", "customer", "cause"),
    [
        (7, 7, "AS8 neighbours itself; remove"),
        (0, 1, "AS1 and AS2 have two relations; keep one"),
    ],
)
def test_a_relation_too_many_is_refused(provider: int, customer: int, cause: str) -> None:
    whole = generate(30)
    wrong = replace(
        whole,
        provider=np.append(whole.provider, np.int32(provider)),
        customer=np.append(whole.customer, np.int32(customer)),
    )
    with pytest.raises(NetworkError, match=cause):
        check(wrong)
