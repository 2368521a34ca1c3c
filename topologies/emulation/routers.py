"""The routers of a network whose upstream is BGP: addresses, neighbours, ways inside each network.

A router is a namespace with an interface for every link, and Linux forwards. FRR puts what it
learns from other networks into the kernel; ways to routers of the own network are put there here,
in place of an interior gateway protocol that converges at once. Everybody knows the MAC addresses
at the other ends of their links, so no packet ever waits for an answer of ARP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from topologies.emulation import netns, rtnetlink, wiring
from topologies.emulation.rtnetlink import LOOPBACK, Netlink, Request
from topologies.plan import HostRole, LinkKind, LinkPlan, Plan, host_mac, router_mac
from topologies.speakers import identifier, internal

_IPV4 = Path("/proc/sys/net/ipv4")
_PAIR = 31
"""The length of the prefix that the ends of a link share (RFC 3021)."""


def configure(plan: Plan) -> None:
    """Give every router and speaker its addresses, and have routers forward. Raises OSError."""
    for router in plan.routers:
        links = plan.links_of(router.name)
        with netns.inside(router.name), Netlink() as own:
            (_IPV4 / "ip_forward").write_text("1")
            (_IPV4 / "conf/all/send_redirects").write_text("0")
            own.send([rtnetlink.address(LOOPBACK, identifier(plan, router.name))])
            for link in links:
                _set_up(own, plan, link, router.name)
    for speaker in plan.hosts_of(HostRole.SPEAKER):
        uplink = plan.link_between(speaker.switch, plan.transit(speaker.city).name)
        ours, theirs = uplink.addresses
        with netns.inside(speaker.name), Netlink() as own:
            index = rtnetlink.indices()["eth0"]
            own.send([rtnetlink.up("eth0"), rtnetlink.address(index, ours, _PAIR)])
            own.send([rtnetlink.neighbour(index, theirs, router_mac(uplink, uplink.b))])


def _set_up(own: Netlink, plan: Plan, link: LinkPlan, router: str) -> None:
    """One interface of a router, for the first time."""
    end = link.near(router)
    if link.kind is LinkKind.ACCESS:  # a host sends from its own address only (BCP 38)
        (_IPV4 / "conf" / end.interface / "rp_filter").write_text("1")
    else:
        index = rtnetlink.indices()[end.interface]
        own.send([rtnetlink.address(index, link.address(end), _PAIR)])
    own.send(_neighbour(plan, link, router))
    wiring.disable_offloads(end.interface)


def _neighbour(plan: Plan, link: LinkPlan, router: str) -> Iterator[Request]:
    """Who is at the other end of a router's link."""
    end, far = link.near(router), link.far(router)
    index = rtnetlink.indices()[end.interface]
    yield rtnetlink.up(end.interface)
    if link.kind is LinkKind.ACCESS:
        host = plan.host(far.node)
        yield rtnetlink.link_route(index, host.address)
        yield rtnetlink.neighbour(index, host.address, host.mac)
        return
    theirs = link.address(far)
    mac = host_mac(theirs) if link.kind is LinkKind.UPLINK else router_mac(link, far)
    yield rtnetlink.neighbour(index, theirs, mac)


def restore(plan: Plan, link: LinkPlan) -> None:
    """What routers forget of a link whose interface was down. Raises OSError."""
    for end in (link.a, link.b):
        if end.node in {router.name for router in plan.routers}:
            with netns.inside(end.node), Netlink() as own:
                own.send(_neighbour(plan, link, end.node))


def join(plan: Plan, up: Iterable[LinkPlan]) -> None:
    """Lead every router to the others of its network, over links that are up. Raises OSError."""
    links = {link.number: link for link in plan.links}
    for router, ways in internal(plan, up).items():
        with netns.inside(router), Netlink() as own:
            for other in _others(plan, router):
                target = IPv4Network(identifier(plan, other))
                with suppress(ProcessLookupError):  # there was none
                    own.send([rtnetlink.no_route(target)])
                if other in ways:
                    way = ways[other]
                    link = links[way.link]
                    gateway = link.address(link.near(way.next))
                    own.send([rtnetlink.route(target, gateway, way.metric)])


def _others(plan: Plan, router: str) -> list[str]:
    """The other routers of a router's network."""
    cities = {city.code: city.network for city in plan.network.cities}
    mine = cities[plan.switch(router).city]
    return [x.name for x in plan.transits if cities[x.city] == mine and x.name != router]
