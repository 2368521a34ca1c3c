"""Policy bgp on arrays agrees with the scalar policy, router by router, and sees leaks."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ases import code, network
from benchmarks.internet_inside import plain
from controller.core.steering.bgp import OURS, Route
from controller.core.steering.bgp import routes as scalar
from controller.core.steering.valleys import strangers, valleys
from controller.core.steering.vectorised import Routes, Sites, loads, routes, rtt_ms
from controller.core.world import World
from topologies.business import Neighbour
from topologies.internet.generate import generate
from topologies.internet.graph import Internet, check
from topologies.model import Scope
from topologies.plan import plan

LONGEST_PREPEND = 4


def an_internet(size: int, pays: list[tuple[int, int]], peers: list[tuple[int, int]]) -> Internet:
    """With these pairs of customer and provider, and of peers; AS n lies on longitude n."""
    customer, provider = np.array(pays, dtype=np.int32).reshape(-1, 2).T
    peer_a, peer_b = np.sort(np.array(peers, dtype=np.int32).reshape(-1, 2), axis=1).T
    internet = Internet(
        name="small",
        number=np.arange(1, size + 1),
        provider=provider,
        customer=customer,
        peer_a=peer_a,
        peer_b=peer_b,
        lat=np.zeros(size),
        lon=np.arange(size, dtype=np.float64),
        region=np.zeros(size, dtype=np.int8),
        regions=("one",),
        clients=np.full(size, 1 / size),
        wide=np.zeros(size, dtype=np.bool_),
    )
    check(internet)
    return internet


@st.composite
def cases(draw: st.DrawFn, largest: int = 100) -> tuple[Internet, Sites]:
    """Random relations in which nobody pays in a circle, and sites that announce as they like.

    Who pays whom follows a random order, so that lower numbers are not always above.
    """
    size = draw(st.integers(2, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rank = rng.permutation(size)
    count = round(draw(st.sampled_from([0.6, 1.0, 1.7, 3.0])) * size)
    pairs = rng.integers(0, size, (count, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    down = rank[pairs[:, 0]] > rank[pairs[:, 1]]
    pays = np.where(down[:, None], pairs, pairs[:, ::-1])
    peering = rng.random(len(pairs)) < draw(st.sampled_from([0.0, 0.3, 0.8]))
    sites = draw(st.integers(1, min(size, 12)))
    return an_internet(size, pays[~peering].tolist(), pairs[peering].tolist()), Sites(
        rng.choice(size, sites, replace=False).astype(np.int32),
        rng.integers(0, 1 + draw(st.integers(0, LONGEST_PREPEND)), sites).astype(np.int32),
        tuple(draw(st.sampled_from([*Scope, Scope.ALL])) for _ in range(sites)),
        rng.random(sites) < draw(st.sampled_from([0.5, 1.0])),
    )


def scalar_routes(internet: Internet, sites: Sites) -> Mapping[str, tuple[Route, ...]]:
    """By the scalar policy, on a network whose cities are the ASes and whose PoPs the sites."""
    up = tuple(code(at) for at, up in zip(sites.at.tolist(), sites.up, strict=True) if up)
    return scalar(World(plan(network(internet, sites))), up)


def _as_scalar(node: int, found: Routes, sites: Sites) -> tuple[object, ...] | None:
    """An AS's route in the words of the scalar policy."""
    path = found.path(node)
    if not path:
        return None
    site = int(found.site[node])
    ours = (OURS,) * (1 + int(sites.prepend[site]))
    told = (*map(code, path[1:]), *ours)
    heard_from = Neighbour(int(found.heard_from[node]))
    return (code(int(sites.at[site])), heard_from, int(found.hops[node]), told)


@given(cases())
@settings(max_examples=250, deadline=None)
def test_both_forms_choose_the_same_route_everywhere(case: tuple[Internet, Sites]) -> None:
    internet, sites = case
    found, known = routes(internet, sites), scalar_routes(internet, sites)
    for node in range(internet.size):
        chosen = known[code(node)][:1]
        expected = [(one.pop, one.heard_from, one.hops, one.path) for one in chosen]
        assert [x for x in [_as_scalar(node, found, sites)] if x] == expected


def test_a_path_that_changes_without_a_change_of_rank_is_told_on() -> None:
    # AS 3 takes 1's route to the site at 0, until 1 hears of the site at 9 from its peer 6. By then
    # 4 and 5 have heard of it; 2's route, which 3 then takes, is as long.
    pays = [(1, 0), (0, 2), (3, 1), (3, 2), (4, 3), (5, 4), (7, 6), (8, 7), (9, 8)]
    internet, sites = an_internet(10, pays, [(1, 6)]), Sites.of([0, 9])
    assert routes(internet, sites).path(5) == (5, 4, 3, 2, 0)
    assert scalar_routes(internet, sites)["a5"][0].path == ("a4", "a3", "a2", "a0", OURS)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_no_path_has_a_valley_and_each_is_a_hop_longer_than_the_next(
    case: tuple[Internet, Sites],
) -> None:
    internet, sites = case
    found = routes(internet, sites)
    assert len(valleys(internet, found)) == 0
    assert len(strangers(internet, found)) == 0


def test_a_leak_is_a_valley_and_draws_those_who_like_customers() -> None:
    #  0 -- 1    peers; 2 pays both; the site is at 3, which pays 0
    internet = an_internet(4, [(2, 0), (2, 1), (3, 0)], [(0, 1)])
    sites = Sites.of([3])
    lawful, leaked = routes(internet, sites), routes(internet, sites, leaker=2)
    assert lawful.path(1) == (1, 0, 3)
    assert leaked.path(1) == (1, 2, 0, 3)
    assert [leaked.path(node) for node in (0, 2, 3)] == [lawful.path(n) for n in (0, 2, 3)]
    assert valleys(internet, lawful).tolist() == []
    assert valleys(internet, leaked).tolist() == [1]
    assert len(strangers(internet, leaked)) == 0


@given(cases(largest=40), st.integers(0, 39))
@settings(max_examples=100, deadline=None)
def test_a_leak_moves_nobody_on_the_leakers_path_and_every_valley_is_its(
    case: tuple[Internet, Sites], leaker: int
) -> None:
    internet, sites = case
    leaker %= internet.size
    lawful, leaked = routes(internet, sites), routes(internet, sites, leaker)
    assert leaked.path(leaker) == lawful.path(leaker)
    for node in leaked.path(leaker):
        assert leaked.path(node) == lawful.path(node)
    assert {int(leaked.via[node]) for node in valleys(internet, leaked)} <= {leaker}
    assert len(strangers(internet, leaked)) == 0


def test_a_tool_that_lies_about_a_neighbour_is_found() -> None:
    internet = an_internet(4, [(1, 0), (2, 0), (3, 1)], [])
    found = routes(internet, Sites.of([2]))
    via = found.via.copy()
    via[3] = 0  # no neighbour of it
    assert strangers(internet, replace(found, via=via)).tolist() == [3]
    hops = found.hops.copy()
    hops[0] += 1
    assert 0 in strangers(internet, replace(found, hops=hops))


def test_the_lower_of_two_sites_at_one_as_wins_and_the_shorter_before_it() -> None:
    internet = an_internet(2, [(1, 0)], [])
    assert routes(internet, Sites.of([0, 0])).site.tolist() == [0, 0]
    prepended = replace(Sites.of([0, 0]), prepend=np.array([1, 0], dtype=np.int32))
    assert routes(internet, prepended).site.tolist() == [1, 1]
    assert routes(internet, prepended.without(1)).site.tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_so_does_the_same_policy_in_plain_python_on_a_larger_internet(seed: int) -> None:
    internet = generate(3_000, seed)
    at = np.random.default_rng(seed).choice(450, 40, replace=False)
    found, known = routes(internet, Sites.of(at)), plain(internet, at.tolist())
    own = found.via == np.arange(internet.size)
    told = zip(
        found.hops.tolist(), np.where(own, -1, found.via).tolist(), found.site.tolist(), strict=True
    )
    assert known == dict(enumerate(told))


def test_loads_add_up_and_a_site_that_is_down_has_none() -> None:
    internet = generate(400)
    sites = Sites.of([20, 30, 40])
    found = routes(internet, sites)
    shares = loads(found, sites, internet.clients)
    assert found.reached.all()
    assert shares.sum() == pytest.approx(1)
    for number in range(3):
        mine = internet.clients[found.site == number].sum()
        assert shares[number] == pytest.approx(mine)
    assert loads(routes(internet, sites.without(1)), sites, internet.clients)[1] == 0


def test_the_round_trip_is_that_of_every_leg() -> None:
    internet = generate(400, seed=3)
    found = routes(internet, Sites.of([50, 200]))
    times = rtt_ms(internet, found)
    for node in range(internet.size):
        path = found.path(node)
        places = [path[0], *(x for x in path[1:-1] if not internet.wide[x]), path[-1]]
        here, there = (np.array(x, dtype=np.int32) for x in (places[:-1], places[1:]))
        assert times[node] == pytest.approx(internet.rtt_ms(here, there).sum())


def test_who_is_not_reached_has_no_round_trip() -> None:
    internet = an_internet(3, [(1, 0)], [])
    found = routes(internet, Sites.of([0]))
    assert found.path(2) == ()
    assert np.isnan(rtt_ms(internet, found)).tolist() == [False, False, True]
    assert routes(internet, Sites.of([0]).without(0)).reached.tolist() == [False] * 3


def test_a_local_node_serves_itself_and_customers_hear_of_a_narrow_one() -> None:
    internet = an_internet(3, [(1, 0), (2, 1)], [])
    sites = Sites.of([1])
    nobody = routes(internet, replace(sites, scope=(Scope.NOBODY,)))
    assert nobody.reached.tolist() == [False, True, False]
    narrow = routes(internet, replace(sites, scope=(Scope.CUSTOMERS,)))
    assert narrow.reached.tolist() == [False, True, True]
