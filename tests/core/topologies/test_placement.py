from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.topologies.network_strategies import networks
from topologies import sources
from topologies.model import Network
from topologies.paths import city_delays
from topologies.placement import spread, with_pops
from topologies.sources import NetworkError
from topologies.validate import problems


def _radius(delays: dict[str, dict[str, int]], centres: tuple[str, ...]) -> int:
    return max(min(row[centre] for centre in centres) for row in delays.values())


@given(networks(max_cities=7), st.integers(1, 3))
def test_nobody_is_farther_than_twice_the_best_possible(network: Network, count: int) -> None:
    count = min(count, len(network.cities))
    delays = city_delays(network)
    best = min(_radius(delays, centres) for centres in combinations(delays, count))
    chosen = spread(network, count)
    assert _radius(delays, tuple(chosen)) <= 2 * best
    assert chosen == spread(network, count)


def test_the_first_is_the_most_central_the_second_the_farthest() -> None:
    network = sources.load("europe")
    delays = city_delays(network)
    first, second = spread(network, 2)
    assert first == min(delays, key=lambda code: sum(delays[code].values()))
    assert second == max(delays, key=lambda code: delays[first][code])


def test_only_some_cities_may_be_eligible() -> None:
    network = sources.load("europe")
    delays, some = city_delays(network), ("LHR", "MAD", "ARN", "ATH")
    first, *rest = spread(network, 4, some)
    assert sorted([first, *rest]) == sorted(some)
    assert first == min(some, key=lambda code: sum(delays[code].values()))
    assert rest[0] == max(some, key=lambda code: delays[first][code])


def test_all_cities_can_be_pops() -> None:
    network = sources.load("triangle", "3")
    assert sorted(pop.city for pop in network.pops) == ["ARN", "FCO", "LHR"]


def test_pops_by_code_and_by_name() -> None:
    network = sources.load("europe", "fra, Athens,LHR")
    assert [(pop.city, pop.servers) for pop in network.pops] == [("FRA", 3), ("ATH", 2), ("LHR", 3)]
    assert [(link.a, link.b) for link in network.backbone] == [("LHR", "FRA")]
    assert problems(network) == []


@pytest.mark.parametrize(
    ("pops", "message"),
    [
        ("FRA,XXX", "--pops: there is no city 'XXX'; use one of"),
        ("Frankfrt", "--pops: there is no city 'Frankfrt'; did you mean 'Frankfurt'?"),
        ("FRA,Frankfurt", "--pops: 'Frankfurt' is named twice; name it once"),
        ("29", "--pops: 29 PoPs do not fit 28 cities; use 1 to 28"),
        ("0", "--pops: 0 PoPs do not fit 28 cities"),
        (",", "--pops: no city is named; name some, or say how many"),
    ],
)
def test_bad_wishes_are_refused(pops: str, message: str) -> None:
    with pytest.raises(NetworkError) as caught:
        with_pops(sources.load("europe"), pops)
    assert message in str(caught.value)
