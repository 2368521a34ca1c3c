"""Borrowed sources in the fake switches: every reply finds the borrower, and nobody else."""

from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from immutables import Map

from controller.core import labels
from controller.core.lease import Lease
from controller.core.pipeline import programs
from controller.core.rules import Duty, Rule, duty_of
from controller.core.world import Home
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import ICMP, TCP, UDP, FakeNetwork, Fate, Journey, frame, reply
from tests.fakes.world import FakeWorld, world
from topologies import paths
from topologies.model import Network
from topologies.plan import HostPlan, plan
from topologies.sources import load

TRANSPORTS = st.sampled_from([TCP, UDP])


def _fetch(
    w: FakeWorld, server: HostPlan, origin: HostPlan, port: int, protocol: int
) -> tuple[Journey, Journey]:
    """A server asks an origin from its lease: the way there and the way back."""
    lease = w.lent[server.name]
    packet = frame(
        server, origin.address, source=lease.address, protocol=protocol, sport=port, dport=443
    )
    there = w.network.only(server, packet)
    assert (there.fate, there.where) == (Fate.DELIVERED, origin.name)
    assert there.packet["ipv4_src"] == int(lease.address)
    return there, w.network.only(origin, reply(origin, there.packet))


@lru_cache(maxsize=256)
def _model_delay(network: Network, city: str, landing: str, home: str) -> int:
    """From a city to the PoP where its packets land, and on to the home."""
    p = plan(network)
    delay = paths.service_delays(p, city)[landing]
    if landing != home:
        delay += paths.delay_ns(p, paths.label_route(p, f"e{landing}", home))
    return delay


def _check_return(w: FakeWorld, server: HostPlan, origin: HostPlan, back: Journey) -> None:
    """It is back at the borrower, by the way that the model says, landing PoP and all."""
    assert (back.fate, back.where) == (Fate.DELIVERED, server.name)
    landing = w.ranking[origin.city][0]
    delay = sum(link.line.delay_ns for link in back.links[1:-1])
    assert delay == _model_delay(w.plan.network, origin.city, landing, server.city)
    homeward = [r for r in back.trail if duty_of(r.cookie) is Duty.HOME]
    assert len(homeward) == (landing != server.city)
    for rule in homeward:
        label = labels.decode(rule.actions[0].value)
        assert label == (w.plan.edge(server.city).number, w.plan.edge(landing).number, 0)


@given(networks(), TRANSPORTS, st.integers(0, 0xFFFF))
@settings(max_examples=20)
def test_every_reply_finds_its_borrower_wherever_it_lands(
    network: Network, protocol: int, number: int
) -> None:
    w = world(network)
    for server in w.servers:
        lease = w.lent[server.name]
        port = lease.first_port | number & ~lease.port_mask
        for origin in w.origins:
            _, back = _fetch(w, server, origin, port, protocol)
            _check_return(w, server, origin, back)


@pytest.mark.parametrize("name", ["triangle", "europe"])
def test_networks_of_the_catalog(name: str) -> None:
    w = world(load(name))
    for server in w.servers:
        lease = w.lent[server.name]
        for origin in w.origins:
            for port in (lease.first_port, lease.last_port):
                _, back = _fetch(w, server, origin, port, TCP)
                _check_return(w, server, origin, back)


@given(networks(max_cities=6), TRANSPORTS, st.data())
@settings(max_examples=15)
def test_whatever_comes_for_the_pool_is_its_holders_or_nobodys(
    network: Network, protocol: int, data: st.DataObject
) -> None:
    """From any host, to any address and port of the pools, judged by the book alone."""
    w = world(network)
    outsiders = [*w.clients, *w.origins, *w.servers]
    for _ in range(12):
        sender = data.draw(st.sampled_from(outsiders))
        pool = data.draw(st.sampled_from(network.pools)).prefix
        lent = [lease.address for lease in w.lent.values()]
        anywhere = st.integers(0, pool.num_addresses - 1).map(lambda n, pool=pool: pool[n])
        address = data.draw(st.sampled_from(lent) | anywhere)
        port = data.draw(st.integers(0, 0xFFFF))
        journey = w.network.only(sender, frame(sender, address, protocol=protocol, dport=port))
        lease = w.book.holder(address, port)
        if (protocol, port) == (UDP, 68):  # only the controller sends that
            assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SPOOF)
        elif lease is None:
            assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.UNLENT)
        elif lease.server != sender.name:
            assert (journey.fate, journey.where) == (Fate.DELIVERED, lease.server)


def _triangle() -> tuple[FakeWorld, HostPlan, Lease, HostPlan]:
    """A server, its lease, and a client whose packets land in another PoP."""
    w = world(load("triangle"))
    server = w.servers[0]
    client = next(c for c in w.clients if w.ranking[c.city][0] != server.city)
    return w, server, w.lent[server.name], client


def test_fragments_and_echoes_to_a_borrowed_address_are_counted_as_unlent() -> None:
    w, server, lease, client = _triangle()
    ping = w.network.only(client, frame(client, lease.address, protocol=ICMP))
    # A switch shows port 0 for the fragments after the first.
    fragment = w.network.only(client, frame(client, lease.address, sport=0, dport=0))
    for journey in (ping, fragment):
        assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.UNLENT)
        assert journey.where == server.switch  # the address is at home there


@pytest.mark.parametrize("kind", [0, 3, 11, 12])
def test_icmp_for_borrowers_is_read_at_the_home_of_the_address(kind: int) -> None:
    w, server, lease, _ = _triangle()
    for sender in (*w.clients, *w.origins):
        told = frame(sender, lease.address, protocol=ICMP) | {"icmpv4_type": kind}
        journey = w.network.only(sender, told)
        assert (journey.fate, journey.where) == (Fate.PUNTED, server.switch)
        assert journey.duty is Duty.ICMP


def test_an_echo_from_a_borrowed_address_is_read_before_it_leaves() -> None:
    w, server, lease, client = _triangle()
    echo = frame(server, client.address, source=lease.address, protocol=ICMP)
    journey = w.network.only(server, echo)
    assert (journey.fate, journey.where, journey.duty) == (Fate.PUNTED, server.switch, Duty.ICMP)
    reply = w.network.only(server, echo | {"icmpv4_type": 0})
    assert (reply.fate, reply.duty) == (Fate.DROPPED, Duty.SPOOF)


def test_a_packet_sent_home_in_vain_does_not_travel_again() -> None:
    """Two PoPs that each take the other for the home, as in the middle of a move."""
    w, server, lease, client = _triangle()
    landing = w.plan.edge(w.ranking[client.city][0])
    homes = w.world.homes.set(lease.address, Home(landing.city, 1))
    moved = replace(w.world, leases=Map(), homes=homes)
    mixed = programs(w.world) | {server.switch: programs(moved)[server.switch]}
    journey = FakeNetwork(w.plan, mixed).only(
        client, frame(client, lease.address, dport=lease.first_port)
    )
    assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.UNLENT)
    assert journey.where == server.switch


def _abroad(w: FakeWorld, holder: HostPlan) -> Lease:
    """A second lease of a server's PoP, moved to a server of another PoP."""
    first = w.servers[0]
    decided = w.book.acquire(first.name, first.city, 0, w.lent[first.name].tag, client_id="2")
    w.decide(decided)
    moved = w.book.move(*decided.after.key, holder.name, holder.city, 1)
    w.decide(moved)
    return moved.after


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_replies_for_a_borrower_abroad_go_there_from_wherever_they_land(protocol: int) -> None:
    w = world(load("triangle"))
    holder = w.servers[-1]
    lease = _abroad(w, holder)
    assert lease.abroad
    landed = set()
    for origin in (*w.origins, *w.clients):
        packet = frame(
            holder, origin.address, source=lease.address, protocol=protocol, sport=lease.last_port
        )
        there = w.network.only(holder, packet)
        back = w.network.only(origin, reply(origin, there.packet))
        assert (back.fate, back.where) == (Fate.DELIVERED, holder.name)
        landing = w.ranking[origin.city][0]
        ways = [labels.decode(r.actions[0].value) for r in back.trail if _is_abroad(r)]
        here = (w.plan.edge(holder.city).number, w.plan.edge(landing).number, 0)
        assert ways == ([] if landing == holder.city else [here])
        landed.add(landing)
    assert landed == {edge.city for edge in w.plan.edges}


def _is_abroad(rule: Rule) -> bool:
    return duty_of(rule.cookie) is Duty.ABROAD


def test_two_pops_that_take_each_other_for_the_holders_send_nothing_to_and_fro() -> None:
    """In the middle of a move each has the rules of another moment."""
    w = world(load("triangle"))
    home, one, other = ([*w.plan.servers_of(edge.city)][-1] for edge in w.plan.edges)
    lease = _abroad(w, one)
    before = programs(w.world)
    w.decide(w.book.move(*lease.key, other.name, other.city, 2))
    mixed = programs(w.world) | {other.switch: before[other.switch]}
    client = next(c for c in w.clients if w.ranking[c.city][0] == home.city)
    journey = FakeNetwork(w.plan, mixed).only(
        client, frame(client, lease.address, dport=lease.first_port)
    )
    assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.UNLENT)
    assert journey.where == other.switch


def test_servers_reach_borrowers_in_their_own_pop_and_in_others() -> None:
    w = world(load("triangle"))
    for sender in w.servers:
        for other in w.servers:
            if other is sender:
                continue
            lease = w.lent[other.name]
            packet = frame(sender, lease.address, dport=lease.last_port)
            journey = w.network.only(sender, packet)
            assert (journey.fate, journey.where) == (Fate.DELIVERED, other.name)
            borrowed = _from_lease(packet, w.lent[sender.name])
            assert w.network.only(sender, borrowed).where == other.name


def _from_lease(packet: dict[str, int], lease: Lease) -> dict[str, int]:
    return {**packet, "ipv4_src": int(lease.address), "tcp_src": lease.first_port}


def test_a_client_in_the_pops_own_city_and_an_origin_there_work() -> None:
    network = load("triangle")
    w = world(
        replace(
            network, origins=tuple(replace(network.origins[0], city=p.city) for p in network.pops)
        )
    )
    for server in w.servers:
        for origin in w.origins:
            _, back = _fetch(w, server, origin, w.lent[server.name].first_port, TCP)
            _check_return(w, server, origin, back)


def test_a_lease_that_ended_delivers_nothing_and_admits_nothing() -> None:
    w, server, lease, client = _triangle()
    origin = w.origins[0]
    w.decide(w.book.release(server.name, lease.address, lease.first_port, 0))
    out = frame(server, origin.address, source=lease.address, sport=lease.first_port)
    spoof = w.network.only(server, out)
    assert (spoof.fate, spoof.duty, spoof.where) == (Fate.DROPPED, Duty.SPOOF, server.switch)
    back = w.network.only(client, frame(client, lease.address, dport=lease.first_port))
    assert (back.fate, back.duty) == (Fate.DROPPED, Duty.UNLENT)


def test_plain_anycast_egress_loses_what_lands_elsewhere() -> None:
    """The control: without return dispatch a reply goes to the origin's PoP, whoever asked."""
    w = world(load("triangle"))
    service = w.plan.network.services[0]
    origin = w.origins[0]
    landing = w.ranking[origin.city][0]
    for server in w.servers:
        there = w.network.only(server, frame(server, origin.address, source=service))
        assert there.where == origin.name
        back = w.network.send(origin, reply(origin, there.packet))
        assert {w.plan.host(j.where).city for j in back} == {landing}
