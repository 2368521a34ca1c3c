"""The way of a packet, hop by hop, as the switches themselves tell it (``ofproto/trace``).

Where cities are routers their kernels are asked. Nothing is sent. What the links do to packets is
not asked; a link whose cable is pulled shows where the packet would have gone.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from controller.core import labels
from controller.core.matching import ETHER_TYPES, GATEWAY, ICMP, ICMP6, TCP, UDP
from controller.core.rules import Table, duty_of, mac
from experiments.errors import UsageError
from topologies.emulation import netns
from topologies.emulation.processes import PATIENCE_S
from topologies.family import Address
from topologies.plan import HostPlan, HostRole, LinkKind, LinkPlan, Plan, host_mac

if TYPE_CHECKING:
    from experiments.runs.testbed import Testbed

PROTOCOLS = {"tcp": TCP, "udp": UDP, "icmp": ICMP}
MOST_HOPS = 64

_RULE = re.compile(r"^ *(\d+)\. .*?priority (\d+)(?:, cookie (0x[0-9a-f]+))?", re.M)
# Open vSwitch sends nothing out of the port that a packet came in by, and says so.
_OUTPUT = re.compile(r"^ +(output:\d+|IN_PORT|CONTROLLER)\b.*$(?!\n +>> skipping)", re.M)
_EXCEEDED = re.compile(r">> IPv[46] decrement TTL exception")
_ETH_DST = re.compile(r"^Final flow: .*?dl_dst=([0-9a-f:]+)", re.M)
# A group works on a copy, so only what the datapath does tells which label it wrote.
_SET_DST = re.compile(
    r"^Datapath actions: .*?set\(eth\([^)]*dst=([0-9a-f:]+)(?:/([0-9a-f:]+))?", re.M
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a switch says of a packet: the rules that match (table, priority, cookie), the outputs
    in its own words, and the destination MAC address with which it leaves.
    """

    rules: tuple[tuple[int, int, int], ...]
    outputs: tuple[str, ...]
    eth_dst: int


def read(text: str, eth_dst: int) -> Told:
    """What a trace says about a packet that came in with ``eth_dst``."""
    final = _ETH_DST.search(text)
    left = mac(final[1]) if final else eth_dst
    if (written := _SET_DST.search(text)) is not None:
        mask = mac(written[2]) if written[2] else (1 << 48) - 1
        left = eth_dst & ~mask | mac(written[1]) & mask
    outputs = (*_OUTPUT.findall(text), *("CONTROLLER",) * len(_EXCEEDED.findall(text)))
    return Told(
        tuple((int(t), int(p), int(c or "0", 16)) for t, p, c in _RULE.findall(text)),
        outputs,
        left,
    )


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet on its way; ports are those of TCP and UDP."""

    eth_src: int
    eth_dst: int
    protocol: int
    source: Address
    destination: Address
    sport: int
    dport: int

    def words(self, in_port: int) -> str:
        """The packet in the words of ``ofproto/trace``."""
        found: dict[str, Any] = {
            "in_port": in_port,
            "dl_src": _mac(self.eth_src),
            "dl_dst": _mac(self.eth_dst),
            "dl_type": ETHER_TYPES[self.source.version],
            "nw_proto": self.protocol,
            "nw_ttl": MOST_HOPS,
        }
        if self.source.version == 4:
            found |= {"nw_src": self.source, "nw_dst": self.destination}
        else:
            found |= {"ipv6_src": self.source, "ipv6_dst": self.destination}
        if self.protocol == ICMP:
            found |= {"icmp_type": 8, "icmp_code": 0}
        elif self.protocol == ICMP6:
            found |= {"icmpv6_type": 128, "icmpv6_code": 0}
        else:
            name = "udp" if self.protocol == UDP else "tcp"
            found |= {f"{name}_src": self.sport, f"{name}_dst": self.dport}
        return ",".join(f"{name}={value}" for name, value in found.items())

    def answer(self, host: HostPlan) -> Packet:
        """What a host answers to it."""
        return replace(
            self,
            eth_src=mac(host.mac),
            eth_dst=GATEWAY,
            source=self.destination,
            destination=self.source,
            sport=self.dport,
            dport=self.sport,
        )


def explain(
    lab: Testbed,
    host: str,
    destination: str,
    port: int = 80,
    protocol: str = "tcp",
    source: str | None = None,
    source_port: int = 40000,
) -> dict[str, Any]:
    """The way there and, if a host gets the packet, the way back of its answer.

    ``destination`` is an address or a host's name. Each hop has its switch, what that ``said``
    (``ofproto/trace``, or ``ip route get`` of a router), the rules that match by table and duty,
    and where the packet goes. Raises UsageError for what the network lacks.
    """
    for asked in (port, source_port):
        if not 0 < asked < 1 << 16:
            raise UsageError(f"A port is a number from 1 to 65535, not {asked}.")
    sender, target = _host(lab.plan, host), _address(lab.plan, destination)
    origin = sender.at(target.version) if source is None else _address(lab.plan, source)
    if origin.version != target.version:
        raise UsageError(f"{origin} sends no IPv{target.version} packet: name two of one family.")
    number = _protocol(protocol)
    packet = Packet(
        eth_src=mac(sender.mac),
        eth_dst=GATEWAY,
        protocol=ICMP6 if (number, target.version) == (ICMP, 6) else number,
        source=origin,
        destination=target,
        sport=source_port,
        dport=port,
    )
    there = list(_way(lab, sender, packet))
    found: dict[str, Any] = {"there": there, "ends": _end(lab, there)}
    arrived = [name for name in found["ends"]["hosts"] if name in {h.name for h in lab.plan.hosts}]
    if arrived:
        receiver = lab.plan.host(arrived[0])
        back = list(_way(lab, receiver, packet.answer(receiver)))
        found |= {"back": back, "answer_ends": _end(lab, back)}
    return found


def _way(lab: Testbed, sender: HostPlan, packet: Packet) -> Iterator[dict[str, Any]]:
    """Every hop of a packet that a host sends."""
    node, in_port = sender.switch, sender.port
    routers = {router.name for router in lab.plan.routers}
    for _ in range(MOST_HOPS):
        tell = _routed if node in routers else _switched
        told, link, packet = tell(lab, node, in_port, packet)
        far = None if link is None else link.far(node)
        yield {
            "switch": node,
            "in_port": in_port,
            **told,
            "to": far.node if far else None,
            "cut": link is not None and link.number in lab.cut_links,
        }
        if far is None or far.port is None:
            return
        node, in_port = far.node, far.port


Hop = tuple[dict[str, Any], LinkPlan | None, Packet]
"""What a node does with a packet, the link that it takes, and the packet as it leaves."""


def _switched(lab: Testbed, switch: str, in_port: int, packet: Packet) -> Hop:
    """By the rules of a switch."""
    text = lab.appctl(switch, "ofproto/trace", switch, packet.words(in_port))
    told = read(text, packet.eth_dst)
    port = _port(told, in_port)
    link = next((x for x in lab.plan.links_of(switch) if x.near(switch).port == port), None)
    hop = {
        "said": text,
        "rules": [_rule(*rule) for rule in told.rules],
        "label": _label(lab.plan, told.eth_dst),
        "out": told.outputs[0] if told.outputs else None,
    }
    return hop, link, replace(packet, eth_dst=told.eth_dst)


def _routed(lab: Testbed, router: str, _in_port: int, packet: Packet) -> Hop:
    """By the route of a router's kernel; to its PoP it sends to the speaker's MAC address."""
    words = ["nsenter", f"--net={netns.path(router)}", "ip", "-o", "route", "get", "fibmatch"]
    words += [str(packet.destination)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    told = done.stdout.split()  # nothing, if there is no route
    out = told[told.index("dev") + 1] if "dev" in told else None
    link = next((x for x in lab.plan.links_of(router) if x.near(router).interface == out), None)
    by = told[told.index("proto") + 1] if "proto" in told else "kernel"
    duty = "no route" if link is None else f"{told[0]} by {by}"
    rules = [{"table": "kernel", "priority": 0, "duty": duty}]
    if link is not None and link.kind is LinkKind.UPLINK:
        packet = replace(packet, eth_dst=mac(host_mac(link.address(link.far(router)))))
    hop = {"said": done.stdout or done.stderr, "rules": rules, "label": None, "out": out}
    return hop, link, packet


def _port(told: Told, in_port: int) -> int | None:
    """The port that a packet leaves by; None if it stays."""
    first = told.outputs[0] if told.outputs else ""
    if first == "IN_PORT":
        return in_port
    return int(first.removeprefix("output:")) if first.startswith("output:") else None


def _rule(table: int, priority: int, cookie: int) -> dict[str, Any]:
    duty = duty_of(cookie)
    return {
        "table": Table(table).name.lower(),
        "priority": priority,
        "duty": duty.name.lower() if duty is not None else "not ours",
    }


def _label(plan: Plan, eth_dst: int) -> dict[str, str] | None:
    """What a label says: where it goes, where it has landed, and which link it found dead."""
    label = labels.decode(eth_dst)
    if label is None:
        return None
    pops = {edge.number: edge.city for edge in plan.edges}
    cities = {labels.CITY | transit.number: transit.name for transit in plan.transits}
    links = {link.number: f"{link.a.node}-{link.b.node}" for link in plan.links}
    found = {"to": (pops | cities).get(label.target, "?")}
    found |= {"landed": pops.get(label.landing, "?")} if label.landing else {}
    return found | ({"dead": links.get(label.dead, "?")} if label.dead else {})


def _end(lab: Testbed, hops: list[dict[str, Any]]) -> dict[str, Any]:
    """How a way ends: with a host (one of several, where a group chooses), or why not."""
    last = hops[-1]
    duty = last["rules"][-1]["duty"] if last["rules"] else "nothing"
    if last["to"] is not None:
        return {"hosts": [last["to"]], "why": "cut" if last["cut"] else "delivered"}
    if duty == "service":
        pop = lab.plan.switch(last["switch"]).city
        weights = lab.controller_api.world()["servers"]
        serving = [s.name for s in lab.plan.servers_of(pop) if weights[s.name]]
        return {"hosts": serving, "why": "one by hash" if serving else "nobody serves"}
    if last["out"] == "CONTROLLER":
        return {"hosts": [], "why": "handed to the controller"}
    return {"hosts": [], "why": f"dropped at {last['switch']}: {duty}"}


def _host(plan: Plan, name: str) -> HostPlan:
    try:
        return plan.host(name)
    except KeyError:
        some = ", ".join(host.name for host in plan.hosts_of(HostRole.CLIENT)[:6])
        raise UsageError(f"{plan.network.name} has no host {name!r}; it has {some}, ...") from None


def _address(plan: Plan, text: str) -> Address:
    try:
        found = ip_address(text)
    except ValueError:
        return _host(plan, text).address
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        raise UsageError(f"{text} names an interface: give the address alone.")
    return found


def _protocol(name: str) -> int:
    if name not in PROTOCOLS:
        raise UsageError(f"There is no protocol {name!r} here: use {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def _mac(value: int) -> str:
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """An explanation as people read it."""
    for title, end in (("there", "ends"), ("back", "answer_ends")):
        if title in found:
            yield f"{title}:"
            yield from (f"  {_line(hop)}" for hop in found[title])
            hosts = ", ".join(found[end]["hosts"])
            yield f"  {found[end]['why']}{f': {hosts}' if hosts else ''}"


def said(found: Mapping[str, Any]) -> Iterator[str]:
    """What switches and routers themselves say of each hop, in their own words."""
    for way in ("there", "back"):
        for hop in found.get(way, ()):
            yield f"{way}, {hop['switch']}:"
            yield from (f"  {line}" for line in hop["said"].splitlines() if line.strip())


def _line(hop: Mapping[str, Any]) -> str:
    parts = [hop["switch"].ljust(6), " > ".join(rule["duty"] for rule in hop["rules"])]
    if label := hop["label"]:
        landed = f", landed in {label['landed']}" if "landed" in label else ""
        dead = f", {label['dead']} is dead" if "dead" in label else ""
        parts.append(f"[to {label['to']}{landed}{dead}]")
    if hop["to"]:
        parts.append(f"-> {hop['to']}{' (cut)' if hop['cut'] else ''}")
    return "  ".join(parts)
