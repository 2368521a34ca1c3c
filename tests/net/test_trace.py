"""Open vSwitch's own `ofproto/trace` on a programmed lab, against the fake switch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from controller.core import labels
from controller.core.events import CityMoved, OverrideSet, WeightSet
from controller.core.lease import SECOND, Lease, LeaseState
from controller.core.pipeline import programs
from controller.core.routing import uplink_port
from controller.core.rules import Duty, OutputInPort, duty_of
from controller.core.world import World
from experiments.control.trace import Told, explain, lines, read
from experiments.errors import UsageError
from experiments.runs.testbed import Testbed
from tests.fakes.network import (
    ICMP,
    TCP,
    UDP,
    Arrival,
    FakeNetwork,
    arp_request,
    discover,
    frame,
)
from tests.fakes.switch import Outcome, Packet
from tests.net.test_change import pinged
from topologies import sources
from topologies.plan import GATEWAY_ADDRESS, HostRole, Plan

pytestmark = pytest.mark.net

EXAMPLE = """Flow: tcp,in_port=4,dl_dst=02:00:00:00:00:01,tp_dst=80

bridge("tLHR")
--------------
 0. ip,in_port=4,nw_src=10.1.0.1, priority 300, cookie 0x706f700100000004
    goto_table:40
40. ip,nw_dst=198.51.100.1, priority 300, cookie 0x706f7007c6336401
    set_field:02:60:01:00:00:00->eth_dst
    output:3

Final flow: tcp,in_port=4,dl_src=02:0a:0a:01:00:01,dl_dst=02:60:01:00:00:00,tp_dst=80
Datapath actions: set(eth(dst=02:60:01:00:00:00)),4
"""


SLOT = re.compile(r"NXM_NX_REG0\[\] is now (0x[0-9a-f]+|0)")

OVS_NAMES = {
    "ip_ttl": "nw_ttl",
    "ipv4_src": "nw_src",
    "ipv4_dst": "nw_dst",
    "ip_proto": "nw_proto",
} | {
    "icmpv4_type": "icmp_type",
    "icmpv4_code": "icmp_code",
}


def _world(lab: Testbed) -> World:
    """What the controller has lent by now, from what it tells over REST."""
    leases = tuple(
        Lease(
            address=IPv4Address(x["address"]),
            psid=x["psid"],
            psid_bits=x["psid_bits"],
            state=LeaseState(x["state"]),
            server=x["server"],
            pop=x["pop"],
            tag=x["tag"],
            home=x["home"],
            client_id=x["client_id"],
            number=x["number"],
            since_ns=0,
            until_ns=SECOND,
        )
        for x in lab.controller_api.leases()
    )
    return World.lent(lab.plan, leases)


def _packets(world: World) -> Iterator[tuple[str, dict[str, int]]]:
    """Who sends what: every duty of the pipeline has its packets."""
    plan = world.plan
    service = plan.network.services[0]
    origin = plan.hosts_of(HostRole.ORIGIN)[0]
    for host in plan.hosts:
        yield host.name, arp_request(host)
        yield host.name, frame(host, origin.address, eth_dst=labels.encode(1, 2))
        yield host.name, frame(host, "8.8.8.8")
        for protocol in (TCP, UDP, ICMP):
            yield host.name, frame(host, service, protocol=protocol)
            for target in (*plan.services(6), origin.at(6), plan.hosts[0].at(6), "2001:db8:1::1"):
                yield host.name, frame(host, target, protocol=protocol)
        yield host.name, frame(host, origin.at(6), source=plan.hosts[-1].at(6))
        for kind in (3, 4):  # errors about what was sent from a service address
            yield host.name, frame(host, service, protocol=ICMP, icmpv4_type=kind)
            about6 = {"protocol": ICMP, "icmpv6_type": kind}
            yield host.name, frame(host, plan.services(6)[0], **about6)
        # As a server answers a health check.
        yield host.name, frame(host, GATEWAY_ADDRESS, source=service, sport=80, dport=7)
        for client in plan.hosts_of(HostRole.CLIENT):  # as a server hands back
            yield host.name, frame(host, service, source=client.address)
            yield host.name, frame(host, plan.services(6)[0], source=client.at(6))
        yield host.name, frame(host, "ff02::16", source="fe80::2")
        for lease in world.leases.values():
            for protocol, port in (
                (TCP, lease.first_port),
                (UDP, lease.last_port),
                (TCP, lease.first_port - 2049 & 0xFFFF),
                (TCP, 0),
                (ICMP, 0),
            ):
                yield host.name, frame(host, lease.address, protocol=protocol, dport=port)
    for lease in world.leases.values():
        yield from _borrowers_packets(plan, lease)


def _borrowers_packets(plan: Plan, lease: Lease) -> Iterator[tuple[str, dict[str, int]]]:
    server = plan.host(lease.server)
    origin = plan.hosts_of(HostRole.ORIGIN)[0]
    for protocol in (TCP, UDP, ICMP):
        for port in (lease.first_port, lease.last_port, lease.last_port + 1, 0):
            yield (
                server.name,
                frame(server, origin.address, source=lease.address, protocol=protocol, sport=port),
            )
    yield server.name, frame(server, origin.address)
    yield server.name, discover(server)


def _arrivals(network: FakeNetwork, packets: Iterator[tuple[str, Packet]]) -> set[Arrival]:
    """Where the packets come by on their way through the fake switches."""
    seen: set[Arrival] = set()
    for host, packet in packets:
        for journey in network.send(host, packet):
            seen |= set(journey.arrivals)
    return seen


def _flow(in_port: int, packet: Packet) -> str:
    """A packet in the words of `ofproto/trace`."""
    parts = [f"in_port={in_port}"]
    for name, value in packet.items():
        if name.startswith(("eth_s", "eth_d", "arp_sha", "arp_tha")):
            text = ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))
        elif name.startswith("ipv6"):
            text = str(IPv6Address(value))
        elif name.startswith("ipv4") or name in ("arp_spa", "arp_tpa"):
            text = str(IPv4Address(value))
        else:
            text = str(value)
        parts.append(f"{OVS_NAMES.get(name, name)}={text}")
    # Open vSwitch wants a field's prerequisites before it.
    order = ["in_port", "eth_type", "nw_proto"]
    parts.sort(key=lambda p: order.index(p.split("=")[0]) if p.split("=")[0] in order else 9)
    return ",".join(parts)


def _expected(outcome: Outcome) -> Told:
    rules = tuple((r.table.value, r.priority, r.cookie) for r in outcome.trail)
    turned = OutputInPort() in outcome.trail[-1].actions
    outputs = tuple("IN_PORT" if turned else f"output:{port}" for port, _ in outcome.outputs)
    outputs += ("CONTROLLER",) * len(outcome.punted)
    left = outcome.outputs[0][1] if outcome.outputs else outcome.packet
    return Told(rules, outputs, left["eth_dst"])


class Judge:
    """The lab's switches on one side, the fake ones on the other."""

    def __init__(self, lab: Testbed, network: FakeNetwork) -> None:
        self._lab = lab
        self._network = network

    def check(self, switch: str, port: int, packet: Packet, more: str = "") -> Outcome:
        """Both agree about a packet; ``more`` is said to Open vSwitch in place of the ports."""
        elsewhere = ("tcp", "vlan") if more else ()
        known = {k: v for k, v in packet.items() if not k.startswith(elsewhere)}
        text = self._lab.appctl(switch, "ofproto/trace", switch, _flow(port, known) + more)
        slots = [{"slot": int(slot, 16)} for slot in SLOT.findall(text)]
        assert len(slots) <= 1
        here = self._network.switches[switch]
        (outcome,) = here.receive({**packet, **(slots[0] if slots else {})}, port)
        assert read(text, packet["eth_dst"]) == _expected(outcome), text
        return outcome


@pytest.mark.sandboxed
def test_open_vswitch_and_the_fake_switch_agree(lab_folder: Path) -> None:
    with Testbed(sources.load("triangle"), folder=lab_folder) as lab:
        abroad = lab.control.lease_acquire("LHR-s1", client_id="abroad")
        lab.control.lease_move(f"{abroad['address']}:{abroad['first_port']}", "FCO-s1")
        lab.control.server_weigh("LHR-s1", 2)
        lab.control.city_steer("ARN", "LHR")
        changed = (WeightSet("LHR-s1", 2), CityMoved("ARN", "ARN"), OverrideSet("ARN", "LHR"))
        world = _world(lab).after(*changed)
        assert len(world.leases) == len(lab.plan.hosts_of(HostRole.SERVER)) + 1
        network = FakeNetwork(lab.plan, programs(world))
        judge = Judge(lab, network)
        met: set[Duty | None] = set()
        for name, port, fields in sorted(_arrivals(network, _packets(world))):
            outcome = judge.check(name, port, dict(fields))
            met |= {duty_of(rule.cookie) for rule in outcome.trail}
        assert met == set(Duty) - {Duty.DETOUR, Duty.BGP, Duty.EXCEEDED}
        _check_hops(lab, world, judge)
        _check_fragments(world, judge)
        _check_tags(world, judge)
        _check_detours(lab, network, world, judge)


def _check_hops(lab: Testbed, world: World, judge: Judge) -> None:
    """Packets on their last hop, by either family and from what is borrowed."""
    origin = world.plan.hosts_of(HostRole.ORIGIN)[0]
    for host in lab.plan.hosts_of(HostRole.CLIENT):
        for target in (origin.address, origin.at(6)):
            at = frame(host, target, ip_ttl=1)
            assert judge.check(host.switch, host.port, at).exceeded
    for lease in world.leases.values():
        server = world.plan.host(lease.server)
        at = frame(server, origin.address, source=lease.address, sport=lease.first_port, ip_ttl=1)
        assert judge.check(server.switch, server.port, at).exceeded


def _check_fragments(world: World, judge: Judge) -> None:
    """Every fragment hits what port 0 hits, the first one too: nobody's port set, in and out."""
    for lease in world.leases.values():
        server = world.plan.host(lease.server)
        home = world.plan.edge(lease.home)
        uplink = uplink_port(world.plan, home)
        inward = frame(server, lease.address, sport=0, dport=0, eth_dst=labels.encode(home.number))
        outward = frame(server, "10.1.0.1", source=lease.address, sport=0, dport=0)
        ports = f"tp_src={lease.first_port},tp_dst={lease.first_port}"
        for kind in (",nw_frag=later", f",nw_frag=first,{ports}"):
            assert judge.check(home.name, uplink, inward, kind).duty is Duty.UNLENT
            assert judge.check(server.switch, server.port, outward, kind).duty is Duty.SPOOF


def _check_detours(lab: Testbed, network: FakeNetwork, world: World, judge: Judge) -> None:
    """With a dead link that no controller goes round, groups choose as the fake ones do."""
    link = lab.plan.link_between("tLHR", "tFCO")
    network.kill(link)
    lab.kill("controller")
    lab.set_link(link, up=False)
    lab.wait(lambda: pinged("LHR-c1", lab.plan.host("FCO-c1").address), "the switches to see it")
    met: set[Duty | None] = set()
    packets = (packet for packet in _packets(world) if packet[0].startswith("FCO"))
    for name, port, fields in sorted(_arrivals(network, packets)):
        outcome = judge.check(name, port, dict(fields))
        met |= {duty_of(rule.cookie) for rule in outcome.trail}
    assert Duty.DETOUR in met


def _check_tags(world: World, judge: Judge) -> None:
    """A tag of any number, around anything, from anywhere: Open vSwitch sees the bit that we do."""
    for lease in world.leases.values():
        server = world.plan.host(lease.server)
        lawful = frame(server, "10.1.0.1", source=lease.address, sport=lease.first_port)
        for tag in (0, 5, 4095):
            tagged = {**lawful, "vlan_vid": 0x1000 | tag}
            more = f",vlan_tci={0x1000 | tag:#06x},tp_src={lease.first_port},tp_dst=80"
            assert judge.check(server.switch, server.port, tagged, more).duty is Duty.SPOOF


def test_the_words_of_a_trace_are_understood() -> None:
    """A parser that found nothing could hide that nothing agrees."""
    rules = ((0, 300, 0x706F70_0100000004), (40, 300, 0x706F70_07C6336401))
    assert read(EXAMPLE, 7) == Told(rules, ("output:3",), labels.encode(1))
    swallowed = EXAMPLE.replace("output:3", "output:3\n     >> skipping output to input port")
    assert read(swallowed, 7) == Told(rules, (), labels.encode(1))
    unchanged = re.sub("Final flow: .*\\n.*", "Final flow: unchanged", EXAMPLE)
    assert read(unchanged, 7) == Told(rules, ("output:3",), 7)
    # A group's bucket has written the link, and only the bits that a rule had looked at are said.
    whole, part = "dst=02:60:01:00:00:00", "dst=02:60:01:00:00:05/ff:ff:ff:00:0f:ff"
    found = read(EXAMPLE.replace(f"set(eth({whole}", f"set(eth({part}"), labels.encode(2, 3))
    assert found.eth_dst == labels.encode(1, 3, 5)


@pytest.mark.sandboxed
def test_the_way_of_a_packet_is_told_and_where_its_answer_comes_home(lab_folder: Path) -> None:
    with Testbed(sources.load("triangle"), folder=lab_folder) as lab:
        service = str(lab.plan.network.services[0])
        found = explain(lab, "LHR-c1", service)
        assert [hop["switch"] for hop in found["there"]] == ["tLHR", "eLHR"]
        assert [rule["duty"] for rule in found["there"][0]["rules"]] == ["admit", "steer"]
        assert found["there"][0]["label"] == {"to": "LHR"}
        others = [explain(lab, "LHR-c1", service, source_port=port) for port in range(4000, 4016)]
        assert {"LHR-s1", "LHR-s2"} == {name for way in others for name in way["ends"]["hosts"]}
        assert found["ends"]["why"] == "delivered"
        assert found["answer_ends"]["hosts"] == ["LHR-c1"]

        # A borrower in Rome asks the origin in Stockholm: the answer lands there, and comes home.
        lease = lab.leases()["FCO-s1"]
        own = {"source": lease["address"], "source_port": lease["first_port"]}
        found = explain(lab, "FCO-s1", "ARN-o1", **own)
        assert found["ends"] == {"hosts": ["ARN-o1"], "why": "delivered"}
        landing = next(hop for hop in found["back"] if hop["switch"] == "eARN")
        assert landing["label"] == {"to": "FCO", "landed": "ARN"}
        assert [rule["duty"] for rule in landing["rules"]][-2:] == ["home", "label"]
        assert found["answer_ends"]["hosts"] == ["FCO-s1"]
        text = "\n".join(lines(found))
        assert "[to FCO, landed in ARN]" in text
        assert max(map(len, text.splitlines())) <= 80

        foreign = explain(lab, "FCO-s1", "ARN-o1", **own | {"source_port": 65535})
        assert foreign["ends"]["why"] == "dropped at eFCO: spoof"
        assert "back" not in foreign
        unlent = explain(lab, "LHR-c1", lease["address"], port=65535)
        assert unlent["ends"]["why"] == "dropped at eFCO: unlent"
        assert explain(lab, "LHR-c1", "FCO-c1", protocol="icmp")["answer_ends"]["hosts"] == [
            "LHR-c1"
        ]
        with pytest.raises(UsageError, match="no host 'XXX'"):
            explain(lab, "XXX", service)
        with pytest.raises(UsageError, match="no protocol 'sctp'"):
            explain(lab, "LHR-c1", service, protocol="sctp")
