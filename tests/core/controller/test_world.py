"""The world as a value: what events do to it, and that what is undone leaves no trace."""

from __future__ import annotations

import json
import re
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.events import (
    BalancingSet,
    CityMoved,
    CitySettled,
    Command,
    Event,
    HealthSet,
    LeaseChanged,
    Mark,
    MetricSet,
    OverrideSet,
    PolicySet,
    PopSet,
    PopSettled,
    PopState,
    PortStatus,
    PrependSet,
    ScopeSet,
    ShareSet,
    ShedSet,
    SwitchSet,
    WeightSet,
    dump,
    parse,
)
from controller.core.lease import Lease, LeaseState
from controller.core.lending import Book
from controller.core.steering import rank
from controller.core.world import UnknownError, World
from tests.core.controller.event_strategies import histories
from topologies.model import Balancing, Policy, Scope
from topologies.plan import LinkKind, plan
from topologies.sources import load

PLAN = plan(load("triangle"))
WORLD = World(PLAN)
LONDON_ROME = next(x for x in PLAN.links if {x.a.node, x.b.node} == {"tLHR", "tFCO"})


@given(st.data())
def test_the_world_agrees_with_the_book_on_what_is_lent_and_where_it_is_at_home(
    data: st.DataObject,
) -> None:
    history = [x for x in data.draw(histories(PLAN)) if isinstance(x, LeaseChanged)]
    world = WORLD.after(*history)
    entries = {x.lease.key: x.lease for x in history}
    taken = [x for x in entries.values() if x.state is not LeaseState.FREE]
    book = Book.restore(taken, PLAN.network.pools, PLAN.network.port_set_bits)
    assert sorted(world.leases.values(), key=_key) == list(book.live())
    assert {address: home.pop for address, home in world.homes.items()} == dict(book.homes())
    assert World.lent(PLAN, book.entries()) == world


def _key(lease: Lease) -> tuple[IPv4Address, int]:
    return lease.address, lease.first_port


@pytest.mark.parametrize(
    ("done", "undone"),
    [
        (PopSet("LHR", PopState.WITHDRAWN), PopSet("LHR", PopState.ANNOUNCED)),
        (OverrideSet("LHR", "FCO"), OverrideSet("LHR", None)),
        (ShareSet("LHR", 7), ShareSet("LHR", 1)),
        (PrependSet("LHR", 7), PrependSet("LHR", 0)),
        (ScopeSet("LHR", Scope.NOBODY), ScopeSet("LHR", Scope.ALL)),
        (ShedSet("FCO", "LHR", True), ShedSet("FCO", "LHR", False)),
        (CityMoved("FCO", "LHR"), CitySettled("FCO")),
        (PortStatus("tLHR", 1, False), PortStatus("tLHR", 1, True)),
        (MetricSet(1, 7), MetricSet(1, None)),
    ],
)
def test_what_is_undone_leaves_no_trace(done: Event, undone: Event) -> None:
    assert WORLD.after(done) != WORLD
    assert WORLD.after(done, undone) == WORLD
    assert WORLD.after(undone) == WORLD
    assert WORLD.after(done, done) == WORLD.after(done)


@pytest.mark.parametrize(
    ("done", "undone"),
    [
        (WeightSet("LHR-s1", 0), WeightSet("LHR-s1", 1)),
        (HealthSet("LHR-s1", False), HealthSet("LHR-s1", True)),
        (BalancingSet(Balancing.MODULO, True), BalancingSet(Balancing.MAGLEV, True)),
    ],
)
def test_how_flows_were_spread_is_remembered_until_it_has_settled(
    done: Event, undone: Event
) -> None:
    settled = [PopSettled(edge.city) for edge in PLAN.edges]
    before, changed = WORLD.spread("LHR"), WORLD.after(done).spread("LHR")
    assert WORLD.after(done).former["LHR"] == (before,)
    assert WORLD.after(done, undone).former["LHR"] == (changed,)
    assert WORLD.after(done, undone, *settled) == WORLD
    assert WORLD.after(done, done) == WORLD.after(done)


def test_only_the_last_changes_are_remembered() -> None:
    world = WORLD.after(*(WeightSet("LHR-s1", weight) for weight in range(2, 12)))
    weights = [dict(spread.weights)["LHR-s1"] for spread in world.former["LHR"]]
    assert weights == [10, 9, 8, 7]
    moves = WORLD.after(*(CityMoved("LHR", pop) for pop in ("LHR", "FCO", "ARN", "FCO")))
    assert moves.trails["LHR"] == ("FCO", "ARN", "LHR")


def test_without_a_second_chance_nothing_is_remembered() -> None:
    world = WORLD.after(BalancingSet(Balancing.MAGLEV, False), WeightSet("LHR-s1", 0))
    assert not world.former


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (PopSet("CDG", PopState.DRAINED), "triangle has no PoP CDG; it has ARN, FCO, LHR"),
        (OverrideSet("XXX", "LHR"), "no city XXX"),
        (OverrideSet("LHR", "XXX"), "no PoP XXX"),
        (WeightSet("LHR-c1", 1), "no server LHR-c1"),
        (WeightSet("LHR-s1", -1), "a weight is from 0 to 65535, not -1"),
        (HealthSet("nobody", False), "no server nobody"),
        (PortStatus("sLHR", 1, False), "no switch sLHR"),
        (PortStatus("tLHR", 99, False), "no port 99"),
        (MetricSet(99, 1), "no link between switches 99"),
        (MetricSet(1, -1), "not -1 ns long"),
    ],
)
def test_what_the_network_does_not_have_is_refused(event: Event, cause: str) -> None:
    with pytest.raises(UnknownError, match=cause):
        WORLD.after(event)


def test_a_link_is_up_when_both_its_ends_are() -> None:
    (a, b) = (PortStatus(x.node, x.port or 0, False) for x in (LONDON_ROME.a, LONDON_ROME.b))
    assert WORLD.is_up(LONDON_ROME)
    for down in ((a,), (b,), (a, b)):
        assert not WORLD.after(*down).is_up(LONDON_ROME)
    assert not WORLD.after(a, b, PortStatus(a.switch, a.port, True)).is_up(LONDON_ROME)


def test_a_server_that_is_sick_or_cut_off_gets_nothing_and_its_weight_back() -> None:
    server = PLAN.host("LHR-s1")
    heavy = WORLD.after(WeightSet("LHR-s1", 5))
    for away in (HealthSet("LHR-s1", False), PortStatus("eLHR", server.port, False)):
        assert heavy.after(away).weight("LHR-s1") == 0
    assert heavy.weight("LHR-s1") == 5


def test_states_of_pops_and_overrides_order_what_the_policy_says() -> None:
    ranked = rank(WORLD)
    assert ranked["LHR"][0] == "LHR"
    first, second, third = ranked["LHR"]
    drained = rank(WORLD.after(PopSet("LHR", PopState.DRAINED)))
    assert drained["LHR"] == (second, third, first)
    assert drained["FCO"][0] == "FCO"
    withdrawn = WORLD.after(PopSet("LHR", PopState.WITHDRAWN))
    assert rank(withdrawn)["LHR"] == (second, third)
    assert rank(withdrawn.after(OverrideSet("LHR", "LHR")))["LHR"] == (second, third)
    assert rank(WORLD.after(OverrideSet("LHR", third)))["LHR"] == (third, first, second)
    everybody = [PopSet(edge.city, PopState.DRAINED) for edge in PLAN.edges]
    assert rank(WORLD.after(*everybody)) == ranked


def test_a_cut_uplink_moves_a_pops_catchment_and_a_cut_city_reaches_nobody() -> None:
    uplink = next(x for x in PLAN.links if x.kind is LinkKind.UPLINK and x.a.node == "eLHR")
    assert uplink.a.port is not None
    gone = rank(WORLD.after(PortStatus("eLHR", uplink.a.port, False)))
    assert all("LHR" not in pops and pops for pops in gone.values())
    long_haul = [x for x in PLAN.links_of("tLHR") if x.kind is LinkKind.TRANSIT]
    cut = [PortStatus("tLHR", x.near("tLHR").port or 0, False) for x in long_haul]
    alone = rank(WORLD.after(*cut))
    assert alone["LHR"] == ("LHR",)
    assert "LHR" not in alone["FCO"]


def test_a_metric_is_what_routes_believe() -> None:
    far = WORLD.after(MetricSet(LONDON_ROME.number, 10**9))
    assert rank(far)["LHR"][-1] == "FCO"


LEASE = Lease(
    address=IPv4Address("203.0.113.7"),
    psid=3,
    psid_bits=5,
    state=LeaseState.QUARANTINED,
    server="LHR-s1",
    pop="LHR",
    tag="any",
    home="LHR",
    client_id="",
    number=2,
    since_ns=1,
    until_ns=2,
)


@pytest.mark.parametrize(
    "event",
    [
        LeaseChanged(LEASE),
        PolicySet(Policy.NEAREST),
        SwitchSet("eLHR", True),
        Mark("begin"),
        Command("link.set", {"link": "LHR-FCO", "loss": "1%"}),
    ],
)
def test_notes_and_leases_survive_the_log(event: Event) -> None:
    assert parse(json.loads(json.dumps(dump(event)))) == event


@given(st.data())
@settings(max_examples=30)
def test_every_event_survives_the_log(data: st.DataObject) -> None:
    for event in data.draw(histories(PLAN)):
        assert parse(json.loads(json.dumps(dump(event)))) == event


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        ({}, "there is no event None: LeaseChanged, PolicySet"),
        ({"event": "Nonsense"}, "there is no event 'Nonsense'"),
        ({"event": ["PopSet"]}, "there is no event"),
        ({"event": "PopSet", "pop": "LHR"}, "PopSet has pop, state, not pop"),
        ({"event": "PopSet", "pop": "LHR", "state": "gone"}, "state is one of announced, drained"),
        ({"event": "PopSet", "pop": ["LHR"], "state": "drained"}, "pop is str, not"),
        ({"event": "PopSet", "pop": "LHR", "state": ["drained"]}, "state is one of"),
        ({"event": "WeightSet", "server": "LHR-s1", "weight": True}, "weight is int, not True"),
        ({"event": "WeightSet", "server": "LHR-s1", "weight": "1"}, "weight is int, not '1'"),
        ({"event": "HealthSet", "server": "LHR-s1", "healthy": 1}, "healthy is bool, not 1"),
        ({"event": "OverrideSet", "city": "LHR", "pop": 7}, "pop is str | None, not 7"),
        ({"event": "LeaseChanged", "lease": {}}, "this is no lease"),
        ({"event": "LeaseChanged", "lease": [1]}, "this is no lease"),
        ({"event": "Mark", "text": "a", "more": 1}, "Mark has text, not text, more"),
    ],
)
def test_what_is_no_event_is_refused(wrong: dict[str, object], cause: str) -> None:
    with pytest.raises(ValueError, match=re.escape(cause)):
        parse(wrong)
