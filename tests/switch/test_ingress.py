"""Service traffic in the fake switches: every site reaches its PoP, and replies come back."""

import itertools
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.events import (
    HealthSet,
    OverrideSet,
    PopSet,
    PopState,
    ServiceSet,
    WeightSet,
)
from controller.core.rules import Duty
from tests.core.controller.event_strategies import settings_of
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import ICMP, TCP, UDP, Fate, Journey, frame, reply
from tests.fakes.world import FakeWorld, world
from topologies import paths
from topologies.family import FAMILIES, Address, Family, address
from topologies.model import Balancing, Network, Policy
from topologies.plan import HostPlan
from topologies.sources import load

SERVICES = (IPv4Address("198.51.100.1"), IPv4Address("198.51.100.2"))
PROTOCOLS = st.sampled_from([TCP, UDP, ICMP])


def _check_ingress(w: FakeWorld, client: HostPlan, service: Address, protocol: int) -> None:
    """One client, one service address: the nearest PoP's servers, each of them, and back."""
    delays = paths.service_delays(w.plan, client.city)
    journeys = w.network.send(client, frame(client, service, protocol=protocol))
    assert {j.fate for j in journeys} == {Fate.DELIVERED}
    reached = {w.plan.host(j.where).city for j in journeys}
    assert reached == {w.ranking[client.city][0]}
    (pop,) = reached
    assert delays[pop] == min(delays.values())
    assert {j.where for j in journeys} == {s.name for s in w.plan.servers_of(pop)}
    for journey in journeys:
        assert _transit_delay(journey) == min(delays.values())
        _check_reply(w, client, journey)


def test_an_error_about_the_services_flows_comes_to_every_server_of_the_pop() -> None:
    """Each kernel knows its own; the drained one's connections go on, so it hears too."""
    w = world(load("triangle"))
    w.happen(WeightSet("LHR-s1", 0))
    client = w.plan.host("LHR-c1")
    for family, kinds in ((4, (3, 11, 12)), (6, (1, 2, 3, 4))):
        for kind in kinds:
            error = {f"icmpv{family}_type": kind}
            at = w.plan.services(family)[0]
            journeys = w.network.send(client, frame(client, at, protocol=ICMP, **error))
            assert {j.fate for j in journeys} == {Fate.DELIVERED}
            assert sorted(j.where for j in journeys) == ["LHR-s1", "LHR-s2"]
        echo = {f"icmpv{family}_type": 8 if family == 4 else 128}
        asked = w.network.send(client, frame(client, at, protocol=ICMP, slot=1, **echo))
        assert [j.where for j in asked] == ["LHR-s2"]


def _check_reply(w: FakeWorld, client: HostPlan, journey: Journey) -> None:
    answer = reply(w.plan.host(journey.where), journey.packet)
    ip = "ipv4" if "ipv4_src" in answer else "ipv6"
    assert answer[f"{ip}_src"] == journey.packet[f"{ip}_dst"]
    back = w.network.only(journey.where, answer)
    assert (back.fate, back.where) == (Fate.DELIVERED, client.name)
    assert _transit_delay(back) == paths.delays(w.plan, f"t{client.city}")[back.hops[0]]


def _transit_delay(journey: Journey) -> int:
    """Without the first and the last link, which are the hosts' own."""
    return sum(link.line.delay_ns for link in journey.links[1:-1])


@given(networks(), PROTOCOLS, st.sampled_from(FAMILIES))
@settings(max_examples=20)
def test_every_client_reaches_the_nearest_pop_and_hears_back(
    network: Network, protocol: int, family: Family
) -> None:
    w = world(network)
    services = w.plan.services(family)
    for client in w.clients:
        _check_ingress(w, client, services[0], protocol)
    for origin in w.origins:
        _check_ingress(w, origin, services[-1], protocol)


@pytest.mark.parametrize("name", ["triangle", "europe"])
def test_networks_of_the_catalog(name: str) -> None:
    w = world(load(name))
    for client in w.clients:
        _check_ingress(w, client, w.plan.network.services[0], TCP)


def test_a_prefix_of_addresses_takes_the_rules_of_one() -> None:
    one = world(load("triangle"))
    prefixes = (IPv4Network("198.51.96.0/20"),)
    many = world(replace(load("triangle"), service_prefixes=prefixes))
    for name, switch in one.network.switches.items():
        assert len(many.network.switches[name].rules) == len(switch.rules)
    for client in many.clients:
        for family in FAMILIES:
            services = many.plan.services(family)
            for service in (services[0], services[77], services[-1]):
                _check_ingress(many, client, service, UDP)


@given(networks(max_cities=6), st.sampled_from(FAMILIES))
@settings(max_examples=15)
def test_hosts_reach_each_other_by_their_own_addresses(network: Network, family: Family) -> None:
    w = world(network)
    for source in w.plan.hosts:
        for target in w.plan.hosts:
            if source is not target:
                journey = w.network.only(source, frame(source, target.at(family)))
                assert (journey.fate, journey.where) == (Fate.DELIVERED, target.name)


@given(networks(max_cities=6), st.data())
@settings(max_examples=15)
def test_any_assignment_of_cities_to_pops_is_free_of_loops(
    network: Network, data: st.DataObject
) -> None:
    w = world(network)
    pops = [pop.city for pop in network.pops]
    chosen = {city.code: data.draw(st.sampled_from(pops)) for city in network.cities}
    w.happen(*(OverrideSet(city, pop) for city, pop in chosen.items()))
    for client in w.clients:
        for journey in w.network.send(client, frame(client, network.services[0])):
            assert journey.fate is Fate.DELIVERED
            assert w.plan.host(journey.where).city == chosen[client.city]


@given(networks(max_cities=6), st.sampled_from(Policy), st.data())
@settings(max_examples=25)
def test_every_site_reaches_exactly_the_pop_that_its_policy_names(
    network: Network, policy: Policy, data: st.DataObject
) -> None:
    w = world(replace(network, steering=policy))
    servers = frozenset(server.name for server in w.servers)
    for event in data.draw(st.lists(settings_of(w.plan), max_size=5)):
        w.happen(event)
    ranking = w.now.steering.apart.get(network.services[0], w.ranking)
    for client in w.clients:
        ranked = ranking[client.city]
        if ranked and client.switch not in w.now.routes.labels[ranked[0]].ports:
            ranked = ()  # its city has not heard of it
        for journey in w.network.send(client, frame(client, network.services[0])):
            if not ranked:
                assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.DEFAULT)
            elif any(w.world.weight(s.name) for s in w.plan.servers_of(ranked[0])):
                assert journey.fate is Fate.DELIVERED
                assert journey.where in servers
                assert w.plan.host(journey.where).city == ranked[0]
            else:
                assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SERVICE)
                assert journey.where == w.plan.edge(ranked[0]).name


@pytest.mark.parametrize("scheme", Balancing)
def test_weights_decide_who_serves(scheme: Balancing) -> None:
    w = world(replace(load("triangle"), balancing=scheme))
    client = w.clients[0]
    pop = w.ranking[client.city][0]
    service = w.plan.network.services[0]
    one, two = w.plan.servers_of(pop)

    def servers() -> set[str]:
        return {journey.where for journey in w.network.send(client, frame(client, service))}

    w.happen(WeightSet(one.name, 3))
    edge = w.network.switches[w.plan.edge(pop).name]
    if scheme is Balancing.GROUP:
        (group,) = edge.groups.values()
        assert [bucket.weight for bucket in group.buckets] == [3, 1]
    assert servers() == {one.name, two.name}
    w.happen(WeightSet(one.name, 0))
    assert servers() == {two.name}
    w.happen(HealthSet(two.name, False))
    assert {w.plan.host(name).city for name in servers()} == {w.ranking[client.city][0]}
    assert w.ranking[client.city][-1] == pop  # nobody serves there
    w.happen(OverrideSet(client.city, pop))
    journey = w.network.only(client, frame(client, service))
    assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SERVICE)
    w.happen(WeightSet(one.name, 1))
    assert servers() == {one.name}
    w.happen(HealthSet(two.name, True))
    assert servers() == {one.name, two.name}


def test_a_city_without_a_pop_is_told_by_its_counter() -> None:
    w = world(load("triangle"))
    client = w.clients[0]
    w.happen(*(PopSet(edge.city, PopState.WITHDRAWN) for edge in w.plan.edges))
    journey = w.network.only(client, frame(client, w.plan.network.services[0]))
    assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.DEFAULT)


def test_a_server_that_asks_for_the_service_stays_in_its_pop() -> None:
    """AnyIP answers inside the host, so this is a packet that no ordinary program sends.

    A choice that falls on the sender itself is swallowed: a switch sends nothing back.
    """
    w = world(load("triangle"))
    server, other = w.plan.servers_of(w.plan.network.pops[0].city)
    journeys = w.network.send(server, frame(server, w.plan.network.services[0]))
    assert {(j.fate, j.where) for j in journeys} == {
        (Fate.DELIVERED, other.name),
        (Fate.DROPPED, server.switch),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_at_a_known_prefix_is_dropped_and_does_not_turn_back(family: Family) -> None:
    w = world(load("triangle"))
    for switch in w.plan.switches:
        nobody = switch.covers(family)[-2]
        for sender in (w.clients[0], w.servers[0]):
            journey = w.network.only(sender, frame(sender, nobody))
            assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.DEFAULT)
            assert journey.where == switch.name


@pytest.mark.parametrize("nowhere", ["8.8.8.8", "2001:db8:1::1"])
def test_an_address_outside_every_prefix_is_dropped(nowhere: str) -> None:
    w = world(load("triangle"))
    for host in w.plan.hosts:
        journey = w.network.only(host, frame(host, nowhere))
        assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.DEFAULT)


def test_a_pop_withdraws_one_address_and_keeps_the_others() -> None:
    prefixes = tuple(IPv4Network(service) for service in SERVICES)
    network = replace(load("europe"), service_prefixes=prefixes)
    w = world(network)
    untouched = {name: switch.program for name, switch in w.network.switches.items()}
    kept, moved = SERVICES
    w.happen(ServiceSet(moved, "FRA", announced=False))
    for client, service, family in itertools.product(w.clients, SERVICES, FAMILIES):
        ranked = w.ranking[client.city]
        wanted = ranked[0] if service == kept else next(pop for pop in ranked if pop != "FRA")
        journeys = w.network.send(client, frame(client, address(service, family)))
        assert {w.plan.host(journey.where).city for journey in journeys} == {wanted}
    pops = [pop.city for pop in network.pops]
    w.happen(*(ServiceSet(moved, pop, announced=False) for pop in pops))
    nobody = w.network.only(w.clients[0], frame(w.clients[0], moved))
    assert (nobody.fate, nobody.duty) == (Fate.DROPPED, Duty.DEFAULT)
    w.happen(*(ServiceSet(moved, pop, announced=True) for pop in pops))
    assert {name: switch.program for name, switch in w.network.switches.items()} == untouched
