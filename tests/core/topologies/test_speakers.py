"""Who talks BGP to whom, and in which words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network

from hypothesis import given

from tests.core.topologies.network_strategies import networks
from topologies.business import Neighbour
from topologies.model import City, Line, Link, Network, Pop, Scope, Timers
from topologies.plan import plan
from topologies.sources import load
from topologies.speakers import (
    PREFERENCE,
    US,
    Announcement,
    changed,
    configuration,
    internal,
    speakers,
)

PREFIX = IPv4Network("198.51.100.1/32")


@given(networks(max_cities=8))
def test_every_session_has_two_ends_and_one_of_them_calls(network: Network) -> None:
    made = plan(network)
    found = speakers(made)
    assert len({speaker.identifier for speaker in found}) == len(found)
    sessions = [(speaker, session) for speaker in found for session in speaker.sessions]
    for speaker, session in sessions:
        (back,) = (
            (other, x)
            for other, x in sessions
            if (x.local, x.peer) == (session.peer, session.local) and other is not speaker
        )
        assert back[0].identifier == session.identifier
        assert (session.asn == speaker.asn) == (session.kind is None)
        kinds = (session.kind, back[1].kind)
        assert kinds in {
            (None, None),
            (Neighbour.PEER, Neighbour.PEER),
            (Neighbour.CUSTOMER, Neighbour.PROVIDER),
            (Neighbour.PROVIDER, Neighbour.CUSTOMER),
        }
        texts = [configuration(x, Announcement((PREFIX,)), Timers()) for x in (speaker, back[0])]
        calls = [
            f"neighbor {peer} passive" not in text
            for text, peer in zip(texts, (session.peer, session.local), strict=True)
        ]
        assert sum(calls) == 1


def test_a_pop_is_told_nothing_and_asks_for_what_it_wants() -> None:
    made = plan(load("triangle"))
    pop = next(speaker for speaker in speakers(made) if speaker.name == "LHR-bgp")
    text = configuration(pop, Announcement((PREFIX,), 2, Scope.CUSTOMERS), Timers(3, 9, 30))
    assert f"router bgp {US}\n" in text
    assert " network 198.51.100.1/32\n" in text
    assert f" set as-path prepend {US} {US}\n" in text
    assert " set community 64500:1\n" in text
    assert " timers bgp 3 9\n" in text
    assert "advertisement-interval 30\n" in text
    city = next(speaker for speaker in speakers(made) if speaker.name == "tLHR")
    text = configuration(city, Announcement(), Timers())
    assert "route-map TO-POP out\n" in text
    assert " network 10.1.0.0/16 route-map OWN\n" in text


def test_what_a_pop_announces_can_be_changed_in_place() -> None:
    before = Announcement((PREFIX,), 1, Scope.NOBODY)
    words = changed(before, Announcement((), 0, Scope.ALL))
    assert f"no network {PREFIX}" in words
    assert "no set as-path prepend" in words
    assert not any(word.startswith("set community") for word in words)
    assert f"network {PREFIX}" in changed(Announcement(()), before)
    assert "set community no-export" in changed(Announcement(()), before)


def test_a_customers_route_is_liked_best_and_a_providers_least() -> None:
    liked = sorted(PREFERENCE, key=PREFERENCE.__getitem__, reverse=True)
    assert liked == [Neighbour.CUSTOMER, Neighbour.PEER, Neighbour.PROVIDER]


def test_inside_a_network_the_way_is_the_shortest_over_its_own_links() -> None:
    """Of A - B - C in one network, and a short way from A to C over another one."""
    cities = tuple(City(x, "", 0.0, 0.0, operator="" if x == "D" else "one") for x in "ABCD")
    line = Line(delay_ns=5_000_000)
    pairs = (("A", "B"), ("B", "C"), ("A", "D"), ("D", "C"))
    links = tuple(Link(a, b, line if "D" not in (a, b) else Line(1000)) for a, b in pairs)
    made = plan(Network("x", cities, links, (Pop("A", 1),), (), ()))
    ways = internal(made, made.links)
    assert (ways["tA"]["tC"].next, ways["tA"]["tC"].metric) == ("tB", 10_001)
    assert ways["tD"] == {}
    broken = internal(made, [link for link in made.links if link.number != 1])
    assert set(broken["tB"]) == {"tC"}
    assert replace(ways["tB"]["tC"], link=0) == replace(broken["tB"]["tC"], link=0)
