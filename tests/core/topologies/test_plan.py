import ipaddress
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given

from tests.core.topologies import golden
from tests.core.topologies.network_strategies import networks
from topologies import sources
from topologies.model import Attachment, City, Line, Link, Network, Pop
from topologies.plan import HostRole, LinkKind, Plan, SwitchRole, plan
from topologies.validate import problems


def _text(plan: Plan) -> str:
    lines = [f"{s.name} {s.role} {s.city} {s.dpid:#x} {s.number} {s.prefix}" for s in plan.switches]
    lines += [f"{h.name} {h.role} {h.address} {h.mac} {h.switch}:{h.port}" for h in plan.hosts]
    for x in plan.links:
        ends = " ".join(f"{end.node} {end.interface} {end.port}" for end in (x.a, x.b))
        lines.append(f"{x.number} {x.kind} {ends} {x.line.delay_ns} ns")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["triangle", "europe", "world"])
def test_plans_of_the_catalog_stay_as_they_are(name: str) -> None:
    golden.check(f"plan-{name}.txt", _text(plan(sources.load(name))))


@given(networks())
def test_nothing_is_numbered_twice(network: Network) -> None:
    p = plan(network)
    nodes = [*(s.name for s in p.switches), *(h.name for h in p.hosts)]
    ends = [end for link in p.links for end in (link.a, link.b)]
    on_switches = [end for end in ends if end.port is not None]
    for numbered in (
        nodes,
        [h.address for h in p.hosts],
        [h.mac for h in p.hosts],
        [s.dpid for s in p.switches],
        [(end.node, end.interface) for end in ends],
        [end.interface for end in on_switches],
        [(end.node, end.port) for end in on_switches],
        [name for link in p.links for name in link.inner],
    ):
        assert not [x for x, times in Counter(numbered).items() if times > 1]


@given(networks())
def test_every_name_fits_an_interface(network: Network) -> None:
    p = plan(network)
    names = [s.name for s in p.switches] + [h.name for h in p.hosts]
    names += [end.interface for link in p.links for end in (link.a, link.b)]
    names += [name for link in p.links for name in link.inner]
    assert max(map(len, names)) <= 15


@given(networks())
def test_addresses_lie_behind_their_switch_and_nowhere_else(network: Network) -> None:
    p = plan(network)
    prefixes = [s.prefix for s in p.switches] + [pool.prefix for pool in network.pools]
    prefixes += network.service_prefixes
    for i, a in enumerate(prefixes):
        assert not any(a.overlaps(b) for b in prefixes[:i])
    for host in p.hosts:
        prefix = p.switch(host.switch).prefix
        assert host.address in prefix
        assert host.address not in (prefix.network_address, prefix.broadcast_address)


def test_service_prefixes_are_as_few_as_can_be() -> None:
    told = ("198.51.100.4/32", "198.51.100.0/30", "198.51.100.5/32", "198.51.100.6/31")
    prefixes = tuple(map(ipaddress.IPv4Network, told))
    p = plan(replace(sources.load("triangle"), service_prefixes=prefixes))
    assert list(map(str, p.service_prefixes(4))) == ["198.51.100.0/29"]
    assert list(map(str, p.service_prefixes(6))) == ["2001:db8::c633:6400/125"]
    assert str(p.network.services[0]) == "198.51.100.4"
    assert [len(p.services(family)) for family in (4, 6)] == [8, 8]


@given(networks())
def test_look_ups_agree_with_the_lists(network: Network) -> None:
    p = plan(network)
    assert sum(len(p.servers_of(pop.city)) for pop in network.pops) == len(
        p.hosts_of(HostRole.SERVER)
    )
    for number, edge in enumerate(p.edges, 1):
        assert (edge.number, p.edge(edge.city), edge.role) == (number, edge, SwitchRole.EDGE)
    for city in network.cities:
        assert p.transit(city.code).city == city.code
    for host in p.hosts:
        (link,) = p.links_of(host.name)
        assert link.near(host.name).interface == "eth0"
        assert (link.far(host.name).node, link.far(host.name).port) == (host.switch, host.port)
        assert p.host(host.name) is host
    for switch in p.switches:
        ports = [link.near(switch.name).port for link in p.links_of(switch.name)]
        assert ports == list(range(1, len(ports) + 1))
    for link in p.links:
        assert p.link_between(link.b.node, link.a.node) is link


def test_look_ups_refuse_strangers() -> None:
    p = plan(sources.load("triangle"))
    for look_up in (p.host, p.switch, p.edge, p.transit, p.links_of):
        with pytest.raises(KeyError):
            look_up("nobody")
    with pytest.raises(KeyError):
        p.link_between("eLHR", "eARN")
    with pytest.raises(KeyError):
        p.links[0].near("nobody")


def test_a_server_hangs_on_a_cable() -> None:
    p = plan(sources.load("triangle"))
    assert {x.line for x in p.links if x.kind is LinkKind.SERVER} == {Line()}


@pytest.mark.parametrize(("cities", "length"), [(255, 16), (256, 17), (4095, 20)])
def test_parts_shrink_when_there_are_many_cities(cities: int, length: int) -> None:
    codes = [f"C{n}" for n in range(cities)]
    network = Network(
        "many",
        tuple(City(code, code, 0, 0) for code in codes),
        tuple(Link(a, b, Line()) for a, b in pairwise(codes)),
        (Pop(codes[0], 1),),
        (Attachment(codes[-1]),),
        (),
    )
    assert problems(network) == []
    last = plan(network).transits[-1].prefix
    assert last.prefixlen == length
    assert last.subnet_of(ipaddress.IPv4Network("10.0.0.0/8"))
