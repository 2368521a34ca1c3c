"""The routers of a network whose upstream is BGP: addresses, and the ways inside each network.

A router is a namespace with an interface for every link, and Linux forwards. FRR puts what it
learns from other networks into the kernel; ways to routers of the own network are put there here,
in place of an interior gateway protocol that converges at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path

from topologies.emulation import netns, rtnetlink, wiring
from topologies.emulation.rtnetlink import LOOPBACK, CableEnd, Netlink
from topologies.plan import LinkKind, LinkPlan, Plan
from topologies.speakers import ends, identifier, internal

KINDS = (LinkKind.TRANSIT, LinkKind.UPLINK)
"""Links over which BGP is spoken."""

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_PAIR = 31
"""The length of the prefix that the ends of a link share (RFC 3021)."""


def make(plan: Plan) -> None:
    """Namespaces and plain cables for routers and PoPs' speakers alone. Raises OSError."""
    names = [switch.name for switch in plan.switches]
    for name in names:
        netns.create(name)
    with wiring.open_namespaces(names) as there, Netlink() as here:
        here.send(
            rtnetlink.cable(*(CableEnd(end.interface, there[end.node]) for end in (link.a, link.b)))
            for link in plan.links
            if link.kind in KINDS
        )


def configure(plan: Plan) -> None:
    """Give every router and speaker its addresses, and have it forward. Raises OSError."""
    for switch in plan.switches:
        with netns.inside(switch.name), Netlink() as own:
            _FORWARD.write_text("1")
            wiring.raise_loopback()
            own.send([rtnetlink.address(LOOPBACK, identifier(plan, switch.name))])
            indices = rtnetlink.indices()
            for link in plan.links_of(switch.name):
                if link.kind in KINDS:
                    interface, mine = link.near(switch.name).interface, ends(link)[switch.name]
                    own.send([rtnetlink.address(indices[interface], mine, _PAIR)])
                    own.send([rtnetlink.up(interface)])


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
                    gateway = ends(links[way.link])[way.next]
                    own.send([rtnetlink.route(target, gateway, way.metric)])


def _others(plan: Plan, router: str) -> list[str]:
    """The other routers of a router's network."""
    cities = {city.code: city.network for city in plan.network.cities}
    mine = cities[plan.switch(router).city]
    return [x.name for x in plan.transits if cities[x.city] == mine and x.name != router]


def set_link(link: LinkPlan, up: bool) -> None:
    """Pull or plug a link's cable: both ends see it at once. Raises OSError."""
    change = rtnetlink.up if up else rtnetlink.down
    for end in (link.a, link.b):
        with netns.inside(end.node), Netlink() as own:
            own.send([change(end.interface)])
