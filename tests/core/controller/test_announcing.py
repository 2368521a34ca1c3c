"""What PoPs' speakers announce, and what nobody can ask of routers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.announcing import announcements
from controller.core.events import (
    HealthSet,
    LeaseChanged,
    OverrideSet,
    PolicySet,
    PopSet,
    PopState,
    PrependSet,
    ScopeSet,
    ServiceSet,
)
from controller.core.lending import Book
from controller.core.world import UnknownError, World
from topologies.model import Policy, Pool, Scope, Upstream
from topologies.plan import plan
from topologies.sources import load
from topologies.speakers import Announcement
from topologies.validate import problems

SERVICES = (IPv4Network("198.51.100.0/28"), IPv4Network("198.51.100.200/32"))
POOL, OTHER = IPv4Network("203.0.113.0/24"), IPv4Network("192.0.2.0/24")
BGP = replace(
    load("triangle"), upstream=Upstream.BGP, steering=Policy.BGP, service_prefixes=SERVICES
)
WORLD = World(plan(BGP))


def test_where_switches_carry_packets_nobody_announces() -> None:
    assert announcements(World(plan(load("triangle")))) == {}


def test_every_pop_announces_all_that_it_shares() -> None:
    assert set(announcements(WORLD).values()) == {Announcement((*SERVICES, POOL))}


@pytest.mark.parametrize("state", [PopState.WITHDRAWN, PopState.DRAINED])
def test_a_pop_that_wants_no_traffic_announces_nothing(state: PopState) -> None:
    told = announcements(WORLD.after(PopSet("LHR", state)))
    assert told["LHR"] == Announcement()
    assert told["ARN"] == Announcement((*SERVICES, POOL))


def test_a_pop_where_nobody_serves_announces_nothing() -> None:
    sick = [HealthSet(server.name, False) for server in WORLD.plan.servers_of("LHR")]
    assert announcements(WORLD.after(*sick[:1]))["LHR"].prefixes
    assert not announcements(WORLD.after(*sick))["LHR"].prefixes


def test_prepending_and_scope_are_asked_for() -> None:
    told = announcements(WORLD.after(PrependSet("LHR", 2), ScopeSet("ARN", Scope.NOBODY)))
    assert (told["LHR"].prepend, told["ARN"].scope) == (2, Scope.NOBODY)


@given(st.sets(st.tuples(st.integers(0, 15), st.sampled_from(["LHR", "ARN", "FCO"]))))
def test_an_address_that_a_pop_withholds_stands_for_itself_at_all(
    withheld: set[tuple[int, str]],
) -> None:
    """Every PoP covers all but what it withholds, and no prefix is longer than elsewhere."""
    events = [ServiceSet(SERVICES[0][n], pop, False) for n, pop in withheld]
    told = announcements(WORLD.after(*events))
    whole = {address for prefix in SERVICES for address in prefix}
    for pop, announced in told.items():
        covered = [at for prefix in announced.prefixes if prefix != POOL for at in prefix]
        assert len(covered) == len(set(covered))
        assert set(covered) == whole - {SERVICES[0][n] for n, by in withheld if by == pop}
    lengths: dict[IPv4Address, set[int]] = {}
    for announced in told.values():
        for prefix in announced.prefixes:
            for at in prefix:
                lengths.setdefault(at, set()).add(prefix.prefixlen)
    assert all(len(found) == 1 for found in lengths.values())


CUT = World(plan(replace(BGP, pools=(Pool(POOL, more_specifics=26),))))


def _lent(world: World, *homes: tuple[int, str]) -> World:
    """With some addresses of the pool at home in these PoPs."""
    book = Book(world.plan.network.pools, 1)
    for n, pop in homes:
        lease = book.acquire(f"{pop}-s{n}", pop, 0).after
        world = world.after(LeaseChanged(lease._replace(address=POOL[n], home=pop)))
    return world


def test_a_pop_announces_the_pieces_where_it_alone_is_at_home_beside_the_whole() -> None:
    first, second, *_ = POOL.subnets(new_prefix=26)
    world = _lent(CUT, (0, "LHR"), (1, "LHR"), (64, "ARN"))
    told = {pop: set(x.prefixes) - set(SERVICES) for pop, x in announcements(world).items()}
    assert told == {"LHR": {POOL, first}, "ARN": {POOL, second}, "FCO": {POOL}}
    shared = announcements(_lent(world, (65, "LHR")))
    assert second not in {prefix for x in shared.values() for prefix in x.prefixes}


def test_a_pop_that_is_withdrawn_keeps_its_pieces_to_itself() -> None:
    world = _lent(CUT, (0, "LHR")).after(PopSet("LHR", PopState.WITHDRAWN))
    assert not announcements(world)["LHR"].prefixes


def test_pieces_need_bgp_and_are_pieces() -> None:
    cut = replace(BGP, pools=(Pool(POOL, more_specifics=26), Pool(OTHER, "b", more_specifics=24)))
    wrong = {problem.path: problem.mend for problem in problems(cut) if "pools" in problem.path}
    assert wrong == {("pools", 1, "more_specifics"): "use 25 to 32"}
    sdn = replace(load("triangle"), pools=(Pool(POOL, more_specifics=26),))
    assert [problem.mend for problem in problems(sdn)] == ["use upstream: bgp"]


def test_nobody_tells_routers_where_to_go() -> None:
    with pytest.raises(UnknownError, match="nobody steers its cities by nearest"):
        WORLD.after(PolicySet(Policy.NEAREST))
    with pytest.raises(UnknownError, match="by hand"):
        WORLD.after(OverrideSet("LHR", "ARN"))
    assert WORLD.after(PolicySet(Policy.BGP), OverrideSet("LHR", None)) == WORLD
