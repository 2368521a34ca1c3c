"""What each policy ranks first, and what no policy may do."""

import heapq
import itertools
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.core.events import (
    OverrideSet,
    PolicySet,
    PopSet,
    PopState,
    PrependSet,
    ScopeSet,
    ShareSet,
    ShedSet,
)
from controller.core.steering import nearest, rank
from controller.core.steering.bgp import OURS, bgp, routes
from controller.core.steering.ranking import Pops
from controller.core.steering.why import why
from controller.core.world import World
from tests.core.controller.event_strategies import settings_of
from tests.core.topologies.network_strategies import networks
from topologies.business import Neighbour, neighbours
from topologies.hashing import score
from topologies.model import NOBODY, Attachment, City, Line, Link, Network, Policy, Pop, Scope
from topologies.plan import plan
from topologies.sources import load

LONG, SHORT = Line(50_000_000), Line(1_000_000)


def _world(network: Network, policy: Policy) -> World:
    return World(plan(replace(network, steering=policy)))


def _pops(world: World) -> Pops:
    return tuple(edge.city for edge in world.plan.edges)


# -- all policies


@given(networks(max_cities=8), st.sampled_from(Policy), st.data())
@settings(max_examples=60)
def test_whatever_happens_only_pops_that_are_announced_and_in_reach_are_ranked(
    network: Network, policy: Policy, data: st.DataObject
) -> None:
    world = _world(network, policy)
    world = world.after(*data.draw(st.lists(settings_of(world.plan), max_size=6)))
    reach = nearest(world, _pops(world))
    for city, ranked in rank(world).items():
        if city in world.held:
            continue
        assert len(set(ranked)) == len(ranked)
        assert set(ranked) <= set(reach[city])
        assert PopState.WITHDRAWN not in map(world.pop_state, ranked)
        override = world.overrides.get(city)
        if override in reach[city] and world.pop_state(override) is not PopState.WITHDRAWN:
            assert ranked[0] == override
            ranked = ranked[1:]
        states = [world.told(pop) for pop in ranked]
        assert states == sorted(states)  # announced before drained


@given(networks(max_cities=8), st.sampled_from(Policy), st.data())
@settings(max_examples=30)
def test_why_tells_of_every_pop_in_the_order_of_the_ranking(
    network: Network, policy: Policy, data: st.DataObject
) -> None:
    world = _world(network, policy)
    world = world.after(*data.draw(st.lists(settings_of(world.plan), max_size=6)))
    reach = nearest(world, _pops(world))
    for city, ranked in rank(world).items():
        choices = why(world, city)
        assert tuple(c.pop for c in choices if c.place) == ranked
        assert [c.place for c in choices if c.place] == list(range(1, len(ranked) + 1))
        assert sorted(c.pop for c in choices) == sorted(_pops(world))
        assert {c.pop for c in choices if c.delay_ns is not None} == set(reach[city])
        assert all(c.reason for c in choices)


def test_a_policy_is_the_networks_own_until_another_is_set() -> None:
    world = _world(load("europe"), Policy.BGP)
    assert world.policy is Policy.BGP
    other = world.after(PolicySet(Policy.NEAREST))
    assert rank(other) != rank(world)
    assert other.after(PolicySet(Policy.BGP)) == world


# -- bgp


def _stages(network: Network) -> dict[str, tuple[int, int]]:
    """Kind and length of every city's route by the three stages of stable routing.

    An independent way to the same end, for networks of one city each (P. Gill, M. Schapira and S.
    Goldberg, "Let the market drive deployment", 2011, appendix C.2): customers' routes go up,
    then across to peers, then down.
    """
    kinds: dict[str, list[tuple[str, Neighbour]]] = {city.code: [] for city in network.cities}
    for link, pair in zip(network.links, neighbours(network), strict=True):
        assert pair is not None
        kinds[link.a].append((link.b, pair[0]))
        kinds[link.b].append((link.a, pair[1]))

    def spread(start: dict[str, int], along: Neighbour, settled: frozenset[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        heap = [(length, city) for city, length in start.items()]
        heapq.heapify(heap)
        while heap:
            length, city = heapq.heappop(heap)
            if city in found:
                continue
            found[city] = length
            for other, kind in kinds[city]:
                if kind is along and other not in found and other not in settled:
                    heapq.heappush(heap, (length + 1, other))
        return found

    own = {pop.city: 1 + pop.prepend for pop in network.pops}
    up = spread(own, Neighbour.PROVIDER, frozenset())
    across: dict[str, int] = {}
    for city, length in up.items():
        for other, kind in kinds[city]:
            if kind is Neighbour.PEER and other not in up:
                across[other] = min(length + 1, across.get(other, 1 << 30))
    above = up | across
    # What is above keeps its own route, however short one from a provider would be.
    down = spread(above, Neighbour.CUSTOMER, frozenset(above))
    stages = {city: (0, length) for city, length in up.items()}
    stages |= {city: (1, length) for city, length in across.items()}
    return stages | {city: (2, length) for city, length in down.items() if city not in above}


@given(networks())
@settings(max_examples=60)
def test_bgp_comes_to_the_rest_that_theory_knows(network: Network) -> None:
    alone = replace(
        network,
        cities=tuple(replace(city, operator="") for city in network.cities),
        pops=tuple(replace(pop, scope=Scope.ALL) for pop in network.pops),
        links=tuple(replace(link, customer=None) for link in network.links),
    )
    world = _world(alone, Policy.BGP)
    found = routes(world, _pops(world))
    assert {c: (r[0].heard_from, r[0].hops) for c, r in found.items() if r} == _stages(alone)


@given(networks())
@settings(max_examples=60)
def test_no_path_has_a_valley_and_a_network_agrees_on_kind_and_length(network: Network) -> None:
    world = _world(network, Policy.BGP)
    of = {city.code: city.network for city in network.cities}
    kinds: dict[tuple[str, str], set[Neighbour]] = {}
    for link, pair in zip(network.links, neighbours(network), strict=True):
        if pair is not None:
            kinds.setdefault((of[link.a], of[link.b]), set()).add(pair[0])
            kinds.setdefault((of[link.b], of[link.a]), set()).add(pair[1])
    for city, known in routes(world, _pops(world)).items():
        for route in known:
            path = [of[city], *(name for name in route.path if name != OURS)]
            assert len(set(path)) == len(path)
            assert _valley_free([kinds[step] for step in itertools.pairwise(path)])


def _valley_free(steps: list[set[Neighbour]]) -> bool:
    """Whether a path, each step of which is of one of some kinds, goes up to providers, then
    across to at most one peer, then down to customers.
    """
    words = ("".join(kind.name[:2] for kind in kinds) for kinds in itertools.product(*steps))
    return any(re.fullmatch("(PR)*(PE)?(CU)*", word) for word in words)


def _fork(**pops: Pop) -> Network:
    """C buys from P, which is far, and peers with Q, which is near; both sell to the core X."""
    cities = tuple(City(code, code, 0, 0) for code in ("X", "P", "Q", "C"))
    links = (
        Link("P", "X", SHORT, "P"),
        Link("Q", "X", SHORT, "Q"),
        Link("C", "Q", SHORT, NOBODY),
        Link("P", "C", LONG, "P"),
    )
    return Network("fork", cities, links, tuple(pops.values()), (Attachment("C"),), ())


def test_a_customers_route_wins_over_a_nearer_peers() -> None:
    world = _world(_fork(P=Pop("P", 1), Q=Pop("Q", 1)), Policy.BGP)
    assert rank(world)["C"] == ("P", "Q")
    assert rank(world.after(PolicySet(Policy.NEAREST)))["C"] == ("Q", "P")
    # Prepending loses to local preference, as everybody learns once.
    assert rank(world.after(PrependSet("P", 9)))["C"] == ("P", "Q")
    assert why(world, "C")[1].reason.endswith("; behind by local preference")
    assert "behind" not in why(world, "C")[0].reason


def test_prepending_moves_those_who_have_the_choice() -> None:
    world = _world(_fork(P=Pop("P", 1), Q=Pop("Q", 1)), Policy.BGP)
    assert rank(world)["X"][0] == "P"  # of two customers' routes, the lower number
    assert why(world, "X")[1].reason.endswith("; behind by the neighbour's number")
    prepended = world.after(PrependSet("P", 1))
    assert rank(prepended)["X"][0] == "Q"
    assert why(prepended, "X")[1].reason.endswith("; behind by a shorter AS path")


def test_a_local_node_serves_its_own_network_alone() -> None:
    world = _world(_fork(P=Pop("P", 1), Q=Pop("Q", 1)), Policy.BGP)
    local = world.after(ScopeSet("P", Scope.NOBODY))
    assert {city: pops[:1] for city, pops in rank(local).items()} == {
        "P": ("P",),
        "X": ("Q",),
        "Q": ("Q",),
        "C": ("Q",),
    }


def test_where_nobody_may_tell_nobody_is_served() -> None:
    network = _fork(Q=Pop("Q", 1, scope=Scope.CUSTOMERS))
    ranking = rank(_world(network, Policy.BGP))
    assert ranking == {"X": (), "P": (), "Q": ("Q",), "C": ()}


def test_hot_potato_leaves_by_the_nearest_exit() -> None:
    cities = [City(code, code, 0, 0, operator="wide") for code in ("W", "M", "E")]
    cities += [City("A", "A", 0, 0), City("B", "B", 0, 0)]
    links = (
        Link("W", "M", SHORT),
        Link("M", "E", LONG),
        Link("A", "W", LONG, "A"),
        Link("B", "E", SHORT, "B"),
    )
    pops = (Pop("A", 1), Pop("B", 1))
    world = _world(Network("wide", tuple(cities), links, pops, (Attachment("M"),), ()), Policy.BGP)
    assert why(world, "M")[1].reason.endswith("; behind by a nearer exit")
    chosen = {city: ranked[0] for city, ranked in rank(world).items()}
    assert chosen == {"W": "A", "M": "A", "E": "B", "A": "A", "B": "B"}


def test_the_catalog_loses_latency_to_business() -> None:
    for name in ("europe", "world"):
        world = _world(load(name), Policy.BGP)
        by_bgp, by_delay = bgp(world, _pops(world)), nearest(world, _pops(world))
        assert all(by_bgp.values())
        assert any(by_bgp[city][0] != by_delay[city][0] for city in by_bgp)


# -- regional


def test_a_region_keeps_to_its_own_pops() -> None:
    network = load("world")
    region = {city.code: city.region for city in network.cities}
    world = _world(network, Policy.REGIONAL)
    for city, ranked in rank(world).items():
        assert {region[pop] for pop in ranked} == {region[city]}
    gone = world.after(*(PopSet(p, PopState.WITHDRAWN) for p in ("LHR", "FRA")))
    assert rank(gone)["CDG"] == ()
    assert rank(gone)["JNB"] == rank(world)["JNB"]


def test_a_region_without_any_pop_goes_to_the_nearest() -> None:
    network = load("europe", "LHR")
    moved = tuple(replace(c, region="Mars" if c.code == "ATH" else "Earth") for c in network.cities)
    assert rank(_world(replace(network, cities=moved), Policy.REGIONAL))["ATH"] == ("LHR",)


# -- weighted


def test_cities_are_shared_by_weight_and_a_change_moves_few() -> None:
    world = _world(load("world"), Policy.WEIGHTED)
    cities = [f"{n:05}" for n in range(20_000)]

    def shared(**weights: int) -> list[str]:
        return [
            max(weights, key=lambda pop: score(f"{city} {pop}", weights[pop])) for city in cities
        ]

    before, after = shared(a=1, b=2, c=1), shared(a=1, b=3, c=1)
    count = Counter(before)
    assert {pop: round(n / len(cities), 2) for pop, n in count.items()} == {
        "a": pytest.approx(0.25, abs=0.02),
        "b": pytest.approx(0.5, abs=0.02),
        "c": pytest.approx(0.25, abs=0.02),
    }
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"b"}
    none = world.after(*(ShareSet(pop, 0) for pop in _pops(world) if pop != "LHR"))
    assert set(rank(none).values()) == {("LHR",)}


# -- capacity


def test_a_city_that_is_shed_goes_to_the_next_and_others_stay() -> None:
    world = _world(load("europe"), Policy.CAPACITY)
    before = rank(world)
    shed = world.after(ShedSet("AMS", before["AMS"][0], True))
    after = rank(shed)
    assert after["AMS"] == (*before["AMS"][1:], before["AMS"][0])
    assert {city for city in before if before[city] != after[city]} == {"AMS"}
    assert shed.after(ShedSet("AMS", before["AMS"][0], False)) == world


@given(networks(max_cities=6), st.data())
@settings(max_examples=20)
def test_a_city_is_sent_by_hand_whatever_the_policy_says(
    network: Network, data: st.DataObject
) -> None:
    world = _world(network, Policy.REGIONAL)
    city = data.draw(st.sampled_from(network.cities)).code
    pop = data.draw(st.sampled_from(_pops(world)))
    assume(nearest(world, (pop,))[city])
    assert rank(world.after(OverrideSet(city, pop)))[city][0] == pop
