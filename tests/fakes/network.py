"""A network of fake switches: where does this packet go?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, ip_address

from controller.core.change import Phase
from controller.core.reconcile import changes
from controller.core.rules import Duty, Program, Rule, mac
from tests.fakes.switch import ARP, HOPS, IPV4, IPV6, FakeSwitch, Packet
from topologies.family import Address, Family
from topologies.plan import GATEWAY_ADDRESS, GATEWAY_MAC, HostPlan, LinkPlan, Plan

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
BROADCAST = 0xFFFF_FFFF_FFFF


Arrival = tuple[str, int, tuple[tuple[str, int], ...]]
"""A switch, a port of it, and the fields of the packet that comes in there."""


class Fate(StrEnum):
    DELIVERED = "delivered"  # to the host whose MAC address it carries
    IGNORED = "ignored"  # by a host whose MAC address it does not carry
    PUNTED = "punted"
    DROPPED = "dropped"
    LOST = "lost"  # sent into a link that is dead


class LoopError(AssertionError):
    """A packet came back to where it was."""


@dataclass(frozen=True)
class Journey:
    """How one packet ended: ``where`` is a host (delivered) or a switch (dropped, punted, lost).

    ``arrivals`` are the switches on the way and what came there, ``trail`` all rules that
    matched, ``duty`` that of the last one, ``packet`` the headers at the end.
    """

    fate: Fate
    where: str
    packet: Packet
    arrivals: tuple[Arrival, ...]
    trail: tuple[Rule, ...]
    duty: Duty | None
    links: tuple[LinkPlan, ...]

    @property
    def hops(self) -> tuple[str, ...]:
        """The switches on the way."""
        return tuple(name for name, _, _ in self.arrivals)


class FakeNetwork:
    """The switches of a plan, holding the programs given."""

    def __init__(self, plan: Plan, programs: Mapping[str, Program]) -> None:
        self.plan = plan
        self.switches: dict[str, FakeSwitch] = {}
        for switch in plan.switches:
            ports = {link.near(switch.name).port for link in plan.links_of(switch.name)}
            self.switches[switch.name] = FakeSwitch(switch.name, frozenset(ports - {None}))
        for name, program in programs.items():
            self.switches[name].load(program)
        self._links = {
            (end.node, end.port): link for link in plan.links for end in (link.a, link.b)
        }

    def reconcile(self, programs: Mapping[str, Program]) -> int:
        """Bring every switch to its program; the number of changes that it took."""
        count = 0
        for name, program in programs.items():
            switch = self.switches[name]
            steps = changes(program, switch.program)
            switch.apply(steps)
            count += len(steps)
        return count

    def apply(self, phase: Phase) -> int:
        """Every switch does its part of a phase; the number of changes."""
        for name, steps in phase.items():
            self.switches[name].apply(steps)
        return sum(map(len, phase.values()))

    def kill(self, *links: LinkPlan) -> None:
        """These links are dead from now on; their switches see it, nobody tells the controller."""
        for link in links:
            for end in (link.a, link.b):
                if end.port is not None:
                    self.switches[end.node].dead.add(end.port)

    def heal(self) -> None:
        """No link is dead."""
        for switch in self.switches.values():
            switch.dead.clear()

    def send(self, host: HostPlan | str, packet: Packet) -> list[Journey]:
        """Every way that a packet may go which a host sends: one per choice of select groups."""
        if isinstance(host, str):
            host = self.plan.host(host)
        links = self.plan.links_of(host.name)
        return list(self._walk(host.switch, host.port, packet, (), (), links))

    def only(self, host: HostPlan | str, packet: Packet) -> Journey:
        """The way of a packet that has no choice."""
        (journey,) = self.send(host, packet)
        return journey

    def resume(self, arrival: Arrival) -> Journey:
        """The way on of a packet that was under way, and has no choice."""
        name, port, fields = arrival
        (journey,) = self._walk(name, port, dict(fields), (), (), ())
        return journey

    def _walk(
        self,
        name: str,
        port: int,
        packet: Packet,
        arrivals: tuple[Arrival, ...],
        trail: tuple[Rule, ...],
        links: tuple[LinkPlan, ...],
    ) -> Iterator[Journey]:
        here = (name, port, tuple(sorted(packet.items())))
        if _but_hops(here) in map(_but_hops, arrivals):
            raise LoopError(f"{[at[:2] for at in arrivals]} and back to {name}")
        arrivals = (*arrivals, here)
        for outcome in self.switches[name].receive(packet, port):
            rules = trail + outcome.trail
            for punted in outcome.punted:
                yield Journey(Fate.PUNTED, name, punted, arrivals, rules, outcome.duty, links)
            if not outcome.outputs and not outcome.punted:
                yield Journey(
                    Fate.DROPPED, name, outcome.packet, arrivals, rules, outcome.duty, links
                )
            for out, sent in outcome.outputs:
                if out in self.switches[name].dead:
                    yield Journey(Fate.LOST, name, sent, arrivals, rules, outcome.duty, links)
                    continue
                link = self._links[name, out]
                end = link.far(name)
                further = (*links, link)
                if end.port is not None:
                    yield from self._walk(end.node, end.port, sent, arrivals, rules, further)
                    continue
                host = self.plan.host(end.node)
                fate = Fate.DELIVERED if sent["eth_dst"] == mac(host.mac) else Fate.IGNORED
                yield Journey(fate, host.name, sent, arrivals, rules, outcome.duty, further)


def _but_hops(arrival: Arrival) -> Arrival:
    name, port, fields = arrival
    return name, port, tuple(part for part in fields if part[0] != "ip_ttl")


def frame(
    host: HostPlan,
    destination: Address | str,
    *,
    source: Address | str | None = None,
    protocol: int = TCP,
    sport: int = 40000,
    dport: int = 80,
    **fields: int,
) -> dict[str, int]:
    """A frame from a host to its gateway, of its destination's family; ``fields`` overrides.

    Without ports when the protocol is ICMP.
    """
    target = ip_address(destination)
    family: Family = target.version
    origin = ip_address(source) if source is not None else host.at(family)
    ip, ether_type, icmp = ("ipv4", IPV4, ICMP) if family == 4 else ("ipv6", IPV6, ICMP6)
    protocol = icmp if protocol == ICMP else protocol
    packet = {
        "eth_src": mac(host.mac),
        "eth_dst": mac(GATEWAY_MAC),
        "eth_type": ether_type,
        "ip_ttl": HOPS,
        "ip_proto": protocol,
        f"{ip}_src": int(origin),
        f"{ip}_dst": int(target),
    }
    if protocol in (TCP, UDP):
        name = "tcp" if protocol == TCP else "udp"
        packet |= {f"{name}_src": sport, f"{name}_dst": dport}
    elif family == 4:
        packet |= {"icmpv4_type": 8, "icmpv4_code": 0}
    return packet | fields


def discover(host: HostPlan, **fields: int) -> dict[str, int]:
    """From a host that has no address yet to every DHCP server; ``fields`` as in ``frame``."""
    return frame(
        host,
        "255.255.255.255",
        source="0.0.0.0",
        protocol=UDP,
        sport=68,
        dport=67,
        **{"eth_dst": BROADCAST} | fields,
    )


def reply(host: HostPlan, packet: Packet) -> dict[str, int]:
    """What ``host`` answers to a packet that it received."""
    swapped = {**packet, "eth_src": mac(host.mac), "eth_dst": mac(GATEWAY_MAC), "ip_ttl": HOPS}
    for name in ("ipv4", "ipv6", "tcp", "udp"):
        a, b = f"{name}_src", f"{name}_dst"
        if a in packet:
            swapped[a], swapped[b] = packet[b], packet[a]
    if packet["ip_proto"] == ICMP:
        swapped["icmpv4_type"] = 0
    return swapped


def arp_request(host: HostPlan, target: IPv4Address = GATEWAY_ADDRESS) -> dict[str, int]:
    """A host asks who has an address."""
    return {
        "eth_src": mac(host.mac),
        "eth_dst": BROADCAST,
        "eth_type": ARP,
        "arp_op": 1,
        "arp_sha": mac(host.mac),
        "arp_spa": int(host.address),
        "arp_tha": 0,
        "arp_tpa": int(target),
    }
