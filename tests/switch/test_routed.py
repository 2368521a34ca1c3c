"""An edge switch whose uplink ends at a router: what comes by it, and what leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.core import labels
from controller.core.rules import Duty, mac
from tests.fakes.network import TCP, Fate, Journey, frame
from tests.fakes.switch import Packet
from tests.fakes.world import FakeWorld, world
from topologies.model import Policy, Upstream
from topologies.plan import GATEWAY_MAC, HostPlan
from topologies.sources import load


@pytest.fixture(scope="module")
def w() -> FakeWorld:
    network = load("europe")
    return world(replace(network, upstream=Upstream.BGP, steering=Policy.BGP))


def _speaker(w: FakeWorld, pop: str) -> HostPlan:
    found = w.plan.speaker(pop)
    assert found is not None
    return found


def _by_uplink(w: FakeWorld, pop: str, packet: Packet, **fields: int) -> Journey:
    """What becomes of a packet that the router of a PoP's city sends to it."""
    edge = w.plan.edge(pop)
    line = w.plan.link_between(edge.name, w.plan.transit(pop).name)
    port = line.near(edge.name).port
    assert port is not None
    sent = packet | {"eth_src": mac(GATEWAY_MAC), "eth_dst": mac(_speaker(w, pop).mac)} | fields
    return w.network.resume((edge.name, port, tuple(sent.items())))


def test_no_transit_switch_is_left_and_none_is_needed(w: FakeWorld) -> None:
    assert [s.name for s in w.plan.switches] == [s.name for s in w.plan.edges]
    assert {city for ranked in w.ranking.values() for city in ranked[:1]} <= {
        edge.city for edge in w.plan.edges
    }


def test_what_a_router_sends_is_served_here(w: FakeWorld) -> None:
    client = w.clients[0]
    for edge in w.plan.edges:
        journey = _by_uplink(w, edge.city, frame(client, w.plan.network.services[0], slot=1))
        assert journey.fate is Fate.DELIVERED
        assert journey.where in {server.name for server in w.plan.servers_of(edge.city)}
        own = _by_uplink(w, edge.city, frame(client, w.plan.servers_of(edge.city)[0].address))
        assert (own.fate, own.where) == (Fate.DELIVERED, w.plan.servers_of(edge.city)[0].name)


def test_a_reply_to_a_borrowed_address_goes_home_over_the_backbone(w: FakeWorld) -> None:
    origin = w.origins[0]
    for server, lease in w.lent.items():
        home = w.plan.host(server).city
        for edge in w.plan.edges:
            back = frame(origin, lease.address, sport=443, dport=lease.first_port)
            journey = _by_uplink(w, edge.city, back)
            assert (journey.fate, journey.where) == (Fate.DELIVERED, server)
            assert journey.hops[0] == edge.name
            assert journey.hops[-1] == w.plan.edge(home).name
            assert set(journey.hops) <= {x.name for x in w.plan.edges}


def test_router_and_speaker_talk_and_nobody_else_does(w: FakeWorld) -> None:
    for edge in w.plan.edges:
        speaker = _speaker(w, edge.city)
        line = w.plan.link_between(edge.name, w.plan.transit(edge.city).name)
        ours, theirs = line.addresses
        hello = frame(w.clients[0], ours, source=theirs, dport=179)
        journey = _by_uplink(w, edge.city, hello)
        assert (journey.fate, journey.where, journey.duty) == (
            Fate.DELIVERED,
            speaker.name,
            Duty.BGP,
        )
        switch = w.network.switches[edge.name]
        for packet, admitted in (
            (frame(speaker, theirs, dport=179), True),
            (frame(speaker, theirs, source=w.plan.network.services[0]), False),
            (frame(speaker, w.clients[0].address), False),
            (frame(w.plan.servers_of(edge.city)[0], theirs, source=ours, dport=179), False),
        ):
            host = speaker if packet["eth_src"] == mac(speaker.mac) else w.servers[0]
            port = host.port if host is speaker else w.plan.servers_of(edge.city)[0].port
            (outcome,) = switch.receive(packet, port)
            sent = [out for out, _ in outcome.outputs]
            assert sent == ([line.near(edge.name).port] if admitted else [])


def test_the_world_outside_can_send_no_label(w: FakeWorld) -> None:
    """Its twin, to the speaker's MAC address, is served: see above."""
    one, other, *_ = w.plan.edges
    packet = frame(w.clients[0], w.plan.network.services[0], protocol=TCP)
    for label in (labels.encode(one.number), labels.encode(other.number, landing=one.number)):
        assert _by_uplink(w, one.city, packet, eth_dst=label).fate is Fate.DROPPED


def test_a_server_goes_out_by_the_uplink_with_what_it_has_borrowed(w: FakeWorld) -> None:
    for server, lease in w.lent.items():
        host = w.plan.host(server)
        out = frame(host, w.origins[0].address, source=lease.address, sport=lease.first_port)
        (outcome,) = w.network.switches[host.switch].receive(out, host.port)
        line = w.plan.link_between(host.switch, w.plan.transit(host.city).name)
        assert [port for port, _ in outcome.outputs] == [line.near(host.switch).port]
        stolen = out | {"tcp_src": lease.first_port - 1}
        (outcome,) = w.network.switches[host.switch].receive(stolen, host.port)
        assert outcome.outputs == ()
