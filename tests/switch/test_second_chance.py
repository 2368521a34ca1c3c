"""Connections in fake switches: whatever changes as planned, each stays with its server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.core.events import (
    BalancingSet,
    CityConverged,
    CityHeld,
    CityMoved,
    CitySettled,
    Event,
    HealthSeen,
    HealthSet,
    MetricSet,
    OverrideSet,
    PopSet,
    PopSettled,
    PopState,
    PortStatus,
    ServiceSet,
    WeightSet,
)
from controller.core.rules import Duty, mac
from controller.core.service import HANDED_ON, SECOND_CHANCE
from tests.core.controller.event_strategies import settings_of
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import UDP, Fate, Journey, Packet, frame
from tests.fakes.world import FakeWorld, world
from topologies.model import Balancing, Network
from topologies.plan import GATEWAY_MAC, HANDED_ON_MAC, HostPlan
from topologies.sources import load

MOST_ASKED = 40
UNPLANNED = (
    CityConverged,
    CityHeld,
    CityMoved,
    HealthSeen,
    HealthSet,
    MetricSet,
    PortStatus,
    PopSettled,
    CitySettled,
    ServiceSet,
)


def _arrive(w: FakeWorld, client: HostPlan, packet: Packet, holder: str | None) -> Journey:
    """The last journey of a packet of a connection that ``holder`` alone knows."""
    return _follow(w, w.network.only(client, packet), holder)


def _follow(w: FakeWorld, journey: Journey, holder: str | None) -> Journey:
    """The last of the journeys that begin with this one.

    Servers do as ``topologies.emulation.second_chance`` says: hand back what is marked and unknown.
    """
    for _ in range(MOST_ASKED):
        if journey.fate is not Fate.DELIVERED or journey.where == holder or not _marked(journey):
            return journey
        journey = _handed_back(w, journey)
    raise AssertionError(f"{journey.packet} is handed on for ever")


def _marked(journey: Journey) -> bool:
    return bool(journey.packet["eth_src"] & SECOND_CHANCE)


def _handed_back(w: FakeWorld, journey: Journey) -> Journey:
    """What becomes of a marked packet that the server which it has come to does not know."""
    asked = w.plan.host(journey.where)
    gateway = HANDED_ON_MAC if journey.packet["eth_src"] & HANDED_ON else GATEWAY_MAC
    back = {**journey.packet, "eth_src": mac(asked.mac), "eth_dst": mac(gateway)}
    return w.network.only(asked, back)


def _planned(w: FakeWorld, *unwanted: type[Event]) -> st.SearchStrategy[Event]:
    """What people change; flows have slots after it, for the switch's own choice has none."""
    slotted = st.sampled_from([scheme for scheme in Balancing if scheme is not Balancing.GROUP])
    schemes = st.builds(BalancingSet, slotted, st.just(True))
    return settings_of(w.plan, BalancingSet, *unwanted) | schemes


@given(networks(max_cities=6), st.data())
@settings(max_examples=40)
def test_a_connection_stays_with_its_server_whatever_is_changed_as_planned(
    network: Network, data: st.DataObject
) -> None:
    w = world(network)
    assume(w.clients)
    client = data.draw(st.sampled_from(w.clients))
    w.happen(*data.draw(st.lists(_planned(w, *UNPLANNED), max_size=2)))
    packet = frame(client, network.services[0], slot=data.draw(st.integers(0, 1 << 32)))
    first = w.network.only(client, packet)
    assume(first.fate is Fate.DELIVERED)
    for event in data.draw(st.lists(_planned(w, *UNPLANNED), min_size=1, max_size=4)):
        under_way, served = w.network.only(client, packet), _somebody_serves(w, client)
        w.happen(event)
        assume(w.ranking[client.city])
        later = [_arrive(w, client, packet, first.where)]
        later += [_follow(w, w.network.resume(at), first.where) for at in under_way.arrivals]
        later.append(_follow(w, under_way, first.where))
        if served and _somebody_serves(w, client):
            assert {(x.fate, x.where) for x in later} == {(Fate.DELIVERED, first.where)}


def _somebody_serves(w: FakeWorld, client: HostPlan) -> bool:
    """Whether the PoP that a client goes to now, and those that it had, have a serving server."""
    pops = (w.ranking[client.city][0], *w.world.trails.get(client.city, ()))
    return all(w.world.spread(pop).weights for pop in pops)


@given(networks(max_cities=6), st.data())
@settings(max_examples=30)
def test_what_nobody_knows_ends_at_a_server_that_refuses_it(
    network: Network, data: st.DataObject
) -> None:
    """Whatever happens, failures too: nothing is handed on for ever."""
    w = world(network)
    for event in data.draw(st.lists(_planned(w), max_size=6)):
        w.happen(event)
    for client in w.clients[:2]:
        packet = frame(client, network.services[0], slot=data.draw(st.integers(0, 1 << 32)))
        last = _arrive(w, client, packet, None)
        if last.fate is Fate.DROPPED:
            assert last.duty not in (Duty.BALANCE, Duty.HANDED_ON)
        else:
            assert last.fate is Fate.DELIVERED
            assert not _marked(last)


def _slots_of(w: FakeWorld, client: HostPlan) -> dict[int, str]:
    service = w.plan.network.services[0]
    return {
        slot: w.network.only(client, frame(client, service, slot=slot)).where for slot in range(61)
    }


FLOWS = 443


@pytest.mark.parametrize("ports", [(FLOWS,), ()])
def test_a_flow_of_udp_stays_with_its_server_in_the_pop_if_its_port_is_named(
    ports: tuple[int, ...],
) -> None:
    w = world(replace(load("triangle"), second_chance_udp=ports))
    client = next(c for c in w.clients if c.city == "LHR")
    service = w.plan.network.services[0]
    flows = [frame(client, service, protocol=UDP, dport=FLOWS, slot=slot) for slot in range(61)]
    holders = [w.network.only(client, flow).where for flow in flows]
    w.happen(WeightSet("LHR-s1", 0))
    found = [
        _udp(w, w.network.only(client, flow), holder)
        for flow, holder in zip(flows, holders, strict=True)
    ]
    if ports:
        assert [(x.fate, x.where) for x in found] == [(Fate.DELIVERED, x) for x in holders]
        strangers = [_udp(w, w.network.only(client, flow), None) for flow in flows]
        assert {x.where for x in strangers} == {"LHR-s2"}
        assert not any(map(_marked, strangers))
    else:
        assert {x.where for x in found} == {"LHR-s2"}


def test_a_flow_of_udp_goes_with_its_city() -> None:
    """No first packet says that it is one: if it were handed on, a drained PoP would get all."""
    w = world(replace(load("triangle"), second_chance_udp=(FLOWS,)))
    client = next(c for c in w.clients if c.city == "LHR")
    w.happen(WeightSet("LHR-s1", 0), PopSet("LHR", PopState.DRAINED))
    for slot in range(61):
        flow = frame(client, w.plan.network.services[0], protocol=UDP, dport=FLOWS, slot=slot)
        found = _udp(w, w.network.only(client, flow), None)
        assert found.fate is Fate.DELIVERED
        assert w.plan.host(found.where).city == w.ranking["LHR"][0] != "LHR"


def _udp(w: FakeWorld, journey: Journey, holder: str | None) -> Journey:
    """As ``_follow``, where servers hand back only what is to ports that are named."""
    kept = journey.packet["udp_dst"] in w.plan.network.second_chance_udp
    return _follow(w, journey, holder) if kept else journey


def test_a_drained_pop_and_a_drained_server_keep_what_they_have() -> None:
    w = world(load("triangle"))
    client = next(c for c in w.clients if c.city == "LHR")
    before = _slots_of(w, client)
    w.happen(WeightSet("LHR-s1", 0))
    assert set(_slots_of(w, client).values()) == {"LHR-s2"}
    w.happen(PopSet("LHR", PopState.DRAINED), OverrideSet("FCO", "LHR"))
    assert "LHR" not in {w.plan.host(name).city for name in _slots_of(w, client).values()}
    service = w.plan.network.services[0]
    for slot, server in before.items():
        found = _arrive(w, client, frame(client, service, slot=slot), server)
        assert (found.fate, found.where) == (Fate.DELIVERED, server)
        assert Duty.HANDED_ON in {rule.cookie >> 32 & 0xFF for rule in found.trail}
        stranger = _arrive(w, client, frame(client, service, slot=slot), None)
        assert not _marked(stranger)
        assert w.plan.host(stranger.where).city == "LHR"  # the last that was asked
    rules = w.network.switches["eLHR"].program
    settled = (PopSettled("LHR"), *(CitySettled(city) for city in w.world.trails))
    w.happen(*settled)
    assert w.network.switches["eLHR"].program != rules
    duties = {r.cookie >> 32 & 0xFF for s in w.network.switches.values() for r in s.program.rules}
    assert Duty.HANDED_ON not in duties


def test_what_is_under_way_to_a_pop_when_its_city_comes_back_is_not_refused() -> None:
    w = world(load("triangle"))
    client = next(c for c in w.clients if c.city == "LHR")
    packet = frame(client, w.plan.network.services[0], slot=0)
    holder = w.network.only(client, packet).where
    w.happen(PopSet("LHR", PopState.DRAINED))
    under_way = w.network.only(client, packet).arrivals
    assert under_way[-1][0] != "eLHR"
    w.happen(PopSet("LHR", PopState.ANNOUNCED))
    for at in under_way:
        assert _follow(w, w.network.resume(at), holder).where == holder
        stranger = _follow(w, w.network.resume(at), None)
        assert not _marked(stranger)


def test_what_a_server_hands_back_when_its_city_moves_on_is_not_refused() -> None:
    """A to B to A while a server of B is asked for a connection of A."""
    w = world(load("triangle"))
    client = next(c for c in w.clients if c.city == "LHR")
    packet = frame(client, w.plan.network.services[0], slot=0)
    holder = w.network.only(client, packet).where
    w.happen(PopSet("LHR", PopState.DRAINED))
    at_server = w.network.only(client, packet)
    assert _marked(at_server)
    assert w.plan.host(at_server.where).city != "LHR"
    w.happen(PopSet("LHR", PopState.ANNOUNCED))
    assert _follow(w, at_server, holder).where == holder
    assert not _marked(_follow(w, at_server, None))


def test_without_a_second_chance_a_change_breaks_what_it_moves() -> None:
    """The control: the same change, and servers that are never asked."""
    for scheme, least in ((Balancing.MAGLEV, 0.3), (Balancing.MODULO, 0.3)):
        w = world(load("triangle"))
        w.happen(BalancingSet(scheme, False))
        client = next(c for c in w.clients if c.city == "LHR")
        before = _slots_of(w, client)
        w.happen(WeightSet("LHR-s1", 0))
        after = _slots_of(w, client)
        moved = sum(after[slot] != server for slot, server in before.items()) / len(before)
        assert moved > least
        packet = frame(client, w.plan.network.services[0], slot=0)
        assert not _marked(_arrive(w, client, packet, None))


def test_a_sick_server_is_not_asked() -> None:
    w = world(load("triangle"))
    client = next(c for c in w.clients if c.city == "LHR")
    w.happen(HealthSet("LHR-s1", False))
    for slot in range(61):
        packet = frame(client, w.plan.network.services[0], slot=slot)
        assert _arrive(w, client, packet, None).where == "LHR-s2"
