"""What the study internet is made of, each part against something simpler."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.steering.vectorised import Sites, loads, routes
from experiments.internet import egress, floods, placements
from experiments.internet.computing import announced, leakers_choice
from experiments.internet.placements import greedy, hosts, mean_rtt_ms, near, nearest_ms
from experiments.internet.views import quantile, view
from experiments.playbook import NARROW, changed, descend, off_share, wanted, ways
from topologies.geography import airport
from topologies.internet.generate import generate
from topologies.internet.graph import Internet
from topologies.model import Scope
from topologies.sources import load


@pytest.fixture(scope="module")
def internet() -> Internet:
    return generate(800, seed=2)


# -- placements


def test_given_sites_are_near_and_no_two_are_one(internet: Internet) -> None:
    cities = [airport(code) for code in ("LHR", "LHR", "SYD")]
    found = near(internet, cities)
    assert len(set(found.tolist())) == 3
    assert set(found.tolist()) <= set(hosts(internet).tolist())
    assert math.hypot(*(internet.lat[found[2]] + 33.9, internet.lon[found[2]] - 151.2)) < 60


def test_greedy_takes_the_best_each_time(internet: Internet) -> None:
    candidates = hosts(internet)[5:17]
    chosen = greedy(internet, candidates, 3)
    for count in range(3):
        before, best = chosen[:count].tolist(), chosen[: count + 1]
        others = [x for x in candidates.tolist() if x not in before]
        means = [mean_rtt_ms(internet, Sites.of([*before, x])) for x in others]
        assert mean_rtt_ms(internet, Sites.of(best)) == min(means)


def test_greedy_ends_where_candidates_do(internet: Internet) -> None:
    assert len(greedy(internet, hosts(internet)[:2], 5)) == 2


def test_the_nearest_is_the_nearest(internet: Internet) -> None:
    at = hosts(internet)[[3, 30, 40]]
    here = np.arange(internet.size, dtype=np.int32)
    each = np.array([internet.rtt_ms(here, int(site)) for site in at])
    assert nearest_ms(internet, at) == pytest.approx(each.min(axis=0), abs=1e-9)


def test_drawn_sites_are_different(internet: Internet) -> None:
    drawn = placements.drawn(internet, 50, np.random.default_rng(1))
    assert len(set(drawn.tolist())) == 50


# -- views


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=30),
    st.floats(0, 1),
)
def test_a_weighted_quantile_is_that_of_values_repeated(
    pairs: list[tuple[int, int]], q: float
) -> None:
    values, weights = (np.array(x, dtype=float) for x in zip(*pairs, strict=True))
    repeated = sorted(value for value, weight in pairs for _ in range(weight))
    place = max(0, math.ceil(q * len(repeated) - 1e-9) - 1)
    assert quantile(values, weights, q) == repeated[place]


def test_a_view_of_nothing_has_no_times(internet: Internet) -> None:
    down = Sites.of([20]).without(0)
    assert view(internet, down, routes(internet, down)) == {
        "reached_share": 0.0,
        "valleys": 0,
        "strangers": 0,
    }


def test_a_view_of_a_site_that_is_down_knows_the_others_alone(internet: Internet) -> None:
    both, one = Sites.of([20, 60]), Sites.of([20])
    less = both.without(1)
    rows = [view(internet, sites, routes(internet, sites)) for sites in (less, one)]
    assert rows[0] == rows[1]
    assert rows[0]["inflation_least_ms"] >= -1e-9
    assert rows[0]["rtt_p50_ms"] >= rows[0]["nearest_p50_ms"]


# -- announcements


def test_all_ways_are_tried_where_they_are_few() -> None:
    found = list(ways(3, 1, 27, np.random.default_rng(1).bytes))
    assert len(set(found)) == len(found) == 27
    assert found[0] == "0 0 0"
    assert f"{NARROW} 1 0" in found


@pytest.mark.parametrize("sites", [4, 40])
def test_else_some_are_drawn_and_none_twice(sites: int) -> None:
    found = list(ways(sites, 3, 100, np.random.default_rng(1).bytes))
    assert len(set(found)) == len(found) == 100
    assert found[0] == " ".join("0" * sites)
    assert found == list(ways(sites, 3, 100, np.random.default_rng(1).bytes))


def test_a_way_is_read_as_it_is_written() -> None:
    sites = announced(np.array([5, 6, 7], dtype=np.int32), "2 c 0")
    assert sites.prepend.tolist() == [2, 0, 0]
    assert sites.scope == (Scope.ALL, Scope.CUSTOMERS, Scope.ALL)


def test_changes_are_all_those_at_one_site() -> None:
    assert sorted(changed("0 c", 1)) == ["0 0", "0 1", "1 c", "c c"]


def test_downhill_ends_where_no_change_betters() -> None:
    def off(way: str) -> float:
        return sum(abs(int(word.replace(NARROW, "9")) - 2) for word in way.split())

    assert descend("0 0 c", 3, off, 1000) == "2 2 2"
    assert descend("0 0 c", 3, off, 14) == "2 0 2"  # a way, and two rounds of twelve
    assert descend("0 0 c", 3, off, 1) == "0 0 c"


def test_distance_counts_who_is_nowhere() -> None:
    assert off_share([0.5, 0.5], [0.5, 0.5]) == 0
    assert off_share([1.0, 0.0], [0.5, 0.5]) == 0.5
    assert off_share([0.0, 0.0], [0.5, 0.5]) == 1
    assert wanted(load("triangle")) == pytest.approx([1 / 3] * 3)


# -- leaks, floods and addresses


def test_who_leaks_ought_to_tell_customers_alone(internet: Internet) -> None:
    lawful = routes(internet, Sites.of([20]))
    leaker = leakers_choice(internet, lawful)
    assert lawful.heard_from[leaker] != 0
    assert len(internet.providers[leaker]) > 1


def test_what_floods_leave_is_the_closed_form() -> None:
    assert floods.absorbed([0.5, 0.5], 1) == 1
    assert floods.absorbed([1.0, 0.0], 1) == 0.5
    assert floods.absorbed([0.75, 0.25], 2) == 0.5
    assert floods.absorbed([0.9, 0.1], 0.5) == 1


def test_packets_come_as_the_closed_form_says(internet: Internet) -> None:
    rng = np.random.default_rng(4)
    attack = floods.bots(internet.size, rng)
    assert attack.sum() == pytest.approx(1)
    sites = Sites.of([20, 60, 100])
    found = routes(internet, sites)
    for volume in (0.5, 1.0, 3.0):
        form = floods.absorbed(loads(found, sites, attack).tolist(), volume)
        counted = floods.counted(found, sites, attack, volume, rng)
        assert counted == pytest.approx(form, abs=0.003)


def test_addresses_are_those_of_domain_arithmetic() -> None:
    import random

    taken = {row["design"]: row for row in egress.lent(10, 3, random.Random(1))}
    servers = taken["own"]["servers_by_city"]
    assert taken["own"]["taken"] == 3 * sum(servers)
    assert taken["owner"]["taken"] == 3
    assert taken["port sets"]["taken"] == 3 * sum(-(-count // 31) for count in servers)
