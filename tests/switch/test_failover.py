"""Failures that only the switches see: the fake network goes on by its groups, nobody reroutes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.change import advance
from controller.core.events import PortStatus
from controller.core.rules import Duty, duty_of
from tests.core.topologies.network_strategies import networks
from tests.fakes.network import Fate, Journey, frame, reply
from tests.fakes.world import FakeWorld, world
from topologies.model import Network
from topologies.plan import HostPlan, LinkKind, LinkPlan, Plan
from topologies.sources import load

FABRIC = (LinkKind.TRANSIT, LinkKind.UPLINK, LinkKind.BACKBONE)
Failure = tuple[LinkPlan, ...]


def _protected(network: Network) -> FakeWorld:
    return world(replace(network, failover=True))


def _fabric(plan: Plan) -> list[LinkPlan]:
    return [link for link in plan.links if link.kind in FABRIC]


def _failures(plan: Plan) -> Iterator[Failure]:
    """Every single link, and every edge switch with all its links."""
    yield from ((link,) for link in _fabric(plan))
    yield from (plan.links_of(edge.name) for edge in plan.edges)


def _reach(plan: Plan, dead: Failure, start: str, kinds: tuple[LinkKind, ...]) -> set[str]:
    """The switches to which a path leads from one, over links of these kinds."""
    found, new = {start}, [start]
    while new:
        at = new.pop()
        for link in plan.links_of(at):
            far = link.far(at).node
            if link.kind in kinds and link not in dead and far not in found:
                found.add(far)
                new.append(far)
    return found


def _pops(plan: Plan, switches: set[str]) -> set[str]:
    return {edge.city for edge in plan.edges if edge.name in switches}


def _check_clients(w: FakeWorld, dead: Failure) -> None:
    """Every client reaches a PoP if its city does, without the backbone."""
    service = w.plan.network.services[0]
    for client in w.clients:
        near = _reach(w.plan, dead, client.switch, (LinkKind.TRANSIT, LinkKind.UPLINK))
        journeys = w.network.send(client, frame(client, service))
        cities = {w.plan.host(j.where).city for j in journeys if j.fate is Fate.DELIVERED}
        alive = {c for c in _pops(w.plan, near) if _serves(w, dead, c)}
        assert bool(cities) == bool(alive), (client.name, dead)
        assert cities <= alive


def _serves(w: FakeWorld, dead: Failure, pop: str) -> bool:
    return any(w.plan.links_of(server.name)[0] not in dead for server in w.plan.servers_of(pop))


def _check_fetches(w: FakeWorld, dead: Failure) -> None:
    """What a server borrows comes home, and what it sends by itself is answered."""
    for server, origin in _fetches(w):
        if w.plan.links_of(server.name)[0] in dead:
            continue
        lease = w.lent[server.name]
        for more in ({"source": lease.address, "sport": lease.first_port}, {}):
            there = w.network.only(server, frame(server, origin.address, **more))
            _check_end(there, origin, _leads_out(w.plan, dead, server, origin), dead)
            if there.fate is Fate.DELIVERED:
                back = w.network.only(origin, reply(origin, there.packet))
                leads = (_leads_home if more else _leads_back)(w.plan, dead, server, origin)
                _check_end(back, server, leads, dead)


def _fetches(w: FakeWorld) -> Iterator[tuple[HostPlan, HostPlan]]:
    """A server of every PoP and an origin of every city: hosts of a switch have the same ways."""
    servers = {server.switch: server for server in w.servers}.values()
    origins = {origin.switch: origin for origin in w.origins}.values()
    return itertools.product(servers, origins)


def _leads_out(plan: Plan, dead: Failure, server: HostPlan, origin: HostPlan) -> bool:
    """By the PoP's uplink; if that is dead, over the backbone to another PoP's."""
    home = plan.transit(server.city).name
    if plan.link_between(server.switch, home) in dead:
        exits = _pops(plan, _reach(plan, dead, server.switch, (LinkKind.BACKBONE,)))
        cities = [plan.transit(pop).name for pop in exits - {server.city}]
    else:
        cities = [home]
    return any(origin.switch in _reach(plan, dead, city, (LinkKind.TRANSIT,)) for city in cities)


def _leads_home(plan: Plan, dead: Failure, server: HostPlan, origin: HostPlan) -> bool:
    """To any PoP, and on from there by whatever there is."""
    landings = _pops(plan, _reach(plan, dead, origin.switch, (LinkKind.TRANSIT, LinkKind.UPLINK)))
    return bool(landings) and server.switch in _reach(plan, dead, origin.switch, FABRIC)


def _leads_back(plan: Plan, dead: Failure, server: HostPlan, origin: HostPlan) -> bool:
    """To the PoP's city, and on from there by whatever there is."""
    city = plan.transit(server.city).name
    near = city in _reach(plan, dead, origin.switch, (LinkKind.TRANSIT,))
    return near and server.switch in _reach(plan, dead, city, FABRIC)


def _check_end(journey: Journey, host: HostPlan, leads: bool, dead: Failure) -> None:
    if leads:
        assert (journey.fate, journey.where) == (Fate.DELIVERED, host.name), (dead, journey.hops)
    else:
        assert journey.fate in (Fate.LOST, Fate.DROPPED)


def _check_all(w: FakeWorld) -> None:
    for dead in _failures(w.plan):
        w.network.kill(*dead)
        _check_clients(w, dead)
        _check_fetches(w, dead)
        w.network.heal()


@given(networks(max_cities=7))
@settings(max_examples=25)
def test_any_single_failure_is_gone_round_where_a_path_leads(network: Network) -> None:
    _check_all(_protected(network))


@pytest.mark.parametrize("name", ["triangle", "europe"])
def test_networks_of_the_catalog(name: str) -> None:
    _check_all(world(load(name)))


@given(networks(max_cities=5), st.data())
@settings(max_examples=25)
def test_nothing_loops_whatever_fails(network: Network, data: st.DataObject) -> None:
    """Two failures, and more: the fake network raises when a packet comes back as it was."""
    w = _protected(network)
    links = _fabric(w.plan)
    pairs = list(itertools.combinations(links, 2))
    some = data.draw(st.lists(st.sampled_from(pairs or [tuple(links)]), max_size=6, unique=True))
    more = data.draw(st.lists(st.lists(st.sampled_from(links), unique=True), max_size=2))
    for dead in (*some, *more):
        w.network.kill(*dead)
        _send_everything(w)
        w.network.heal()


def _send_everything(w: FakeWorld) -> None:
    """From a host of every switch, to one of every switch, to a lease of every PoP, to all PoPs."""
    hosts = {host.switch: host for host in w.plan.hosts}.values()
    leases = {host.switch: w.lent[host.name] for host in w.servers}.values()
    service = w.plan.network.services[0]
    for host in hosts:
        for lease in leases:
            w.network.send(host, frame(host, lease.address, dport=lease.last_port))
        for address in (service, *(other.address for other in hosts)):
            w.network.send(host, frame(host, address))


@given(networks(max_cities=5), st.data())
@settings(max_examples=15)
def test_what_the_controller_makes_of_a_failure_stands_the_next(
    network: Network, data: st.DataObject
) -> None:
    """Global repair first: then everybody is where a path leads, and a further failure too."""
    w = _protected(network)
    first = data.draw(st.sampled_from(_fabric(w.plan)))
    w.network.kill(first)
    w.happen(*_status(first, up=False))
    _check_fetches(w, (first,))
    _check_clients(w, (first,))
    for second in data.draw(st.lists(st.sampled_from(_fabric(w.plan)), max_size=4)):
        w.network.kill(second)
        _send_everything(w)
        w.network.heal()
        w.network.kill(first)


def _status(link: LinkPlan, *, up: bool) -> Iterator[PortStatus]:
    """What the switches at a link's ends tell the controller."""
    for end in (link.a, link.b):
        assert end.port is not None
        yield PortStatus(end.node, end.port, up)


@given(networks(max_cities=5), st.data())
@settings(max_examples=25)
def test_nothing_is_lost_while_the_controller_follows(
    network: Network, data: st.DataObject
) -> None:
    """When a link dies, and when it is back: after each switch, in any order that phases allow."""
    w = _protected(network)
    link = data.draw(st.sampled_from(_fabric(w.plan)))
    w.network.kill(link)
    for up in (False, True):
        if up:
            w.network.heal()
        w.now, phases = advance(w.now, *_status(link, up=up))
        for phase in phases:
            for name in data.draw(st.permutations(sorted(phase))):
                w.network.switches[name].apply(phase[name])
                _check_without(w, link)


def _check_without(w: FakeWorld, link: LinkPlan) -> None:
    """Who is served without a link is served, and what borrowers send arrives."""
    for client in w.clients:
        near = _reach(w.plan, (link,), client.switch, (LinkKind.TRANSIT, LinkKind.UPLINK))
        if _pops(w.plan, near):
            journeys = w.network.send(client, frame(client, w.plan.network.services[0]))
            assert {journey.fate for journey in journeys} == {Fate.DELIVERED}
    for server, origin in _fetches(w):
        lease = w.lent[server.name]
        own = {"source": lease.address, "sport": lease.first_port}
        asked = frame(server, origin.address, **own)
        if _leads_out(w.plan, (link,), server, origin):
            there = w.network.only(server, asked)
            assert (there.fate, there.where) == (Fate.DELIVERED, origin.name)


@pytest.mark.parametrize("name", ["triangle", "europe"])
def test_without_failover_nothing_goes_round_and_the_controller_reroutes(name: str) -> None:
    w = world(replace(load(name), failover=False))
    rules = [r for switch in w.network.switches.values() for r in switch.rules.values()]
    assert not [rule for rule in rules if duty_of(rule.cookie) is Duty.DETOUR]
    groups = [g for switch in w.network.switches.values() for g in switch.groups.values()]
    assert not groups
    for edge in w.plan.edges:
        uplink = w.plan.link_between(edge.name, w.plan.transit(edge.city).name)
        w.network.kill(uplink)
        w.happen(*_status(uplink, up=False))
        _check_clients(w, (uplink,))
        w.network.heal()
        w.happen(*_status(uplink, up=True))
