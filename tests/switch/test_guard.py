"""Sources that nobody lent: dropped at the port where they come in, and counted."""

from collections.abc import Callable

import pytest

from controller.core import labels
from controller.core.lease import Lease
from controller.core.rules import Duty, mac
from tests.fakes.network import BROADCAST, ICMP, TCP, UDP, Fate, arp_request, discover, frame
from tests.fakes.world import FakeWorld, world
from topologies.family import address as twin
from topologies.plan import GATEWAY_ADDRESS, GATEWAY_MAC, HostPlan
from topologies.sources import load

Attack = Callable[[FakeWorld, HostPlan, Lease], dict[str, int]]


@pytest.fixture(scope="module")
def w() -> FakeWorld:
    return world(load("triangle"))


def _neighbour(w: FakeWorld, server: HostPlan) -> HostPlan:
    return next(s for s in w.plan.servers_of(server.city) if s is not server)


def _origin(w: FakeWorld) -> HostPlan:
    return w.origins[0]


SERVER_ATTACKS: dict[str, Attack] = {
    "port below its set": lambda w, s, x: frame(
        s, _origin(w).address, source=x.address, sport=x.first_port - 1
    ),
    "port above its set": lambda w, s, x: frame(
        s, _origin(w).address, source=x.address, sport=x.last_port + 1
    ),
    "udp above its set": lambda w, s, x: frame(
        s, _origin(w).address, source=x.address, sport=x.last_port + 1, protocol=UDP
    ),
    "psid 0": lambda w, s, x: frame(s, _origin(w).address, source=x.address, sport=1500),
    "a later fragment": lambda w, s, x: frame(
        s, _origin(w).address, source=x.address, sport=0, dport=0
    ),
    "an error from its lease": lambda w, s, x: (
        frame(s, _origin(w).address, source=x.address, protocol=ICMP) | {"icmpv4_type": 3}
    ),
    "the neighbour's lease": lambda w, s, x: frame(
        s,
        _origin(w).address,
        source=w.lent[_neighbour(w, s).name].address,
        sport=w.lent[_neighbour(w, s).name].first_port,
    ),
    "the neighbour's address": lambda w, s, x: frame(
        s, _origin(w).address, source=_neighbour(w, s).address
    ),
    "an address never lent": lambda w, s, x: frame(
        s, _origin(w).address, source=w.plan.network.pools[0].prefix[-1], sport=x.first_port
    ),
    "an address of the Internet": lambda w, s, x: frame(s, _origin(w).address, source="8.8.8.8"),
    "the origin's address": lambda w, s, x: frame(
        s, w.clients[0].address, source=_origin(w).address
    ),
    "the gateway's address": lambda w, s, x: frame(s, _origin(w).address, source=GATEWAY_ADDRESS),
    "the neighbour's IPv6 address": lambda w, s, x: frame(
        s, _origin(w).at(6), source=_neighbour(w, s).at(6)
    ),
    "the twin of its lease": lambda w, s, x: frame(
        s, _origin(w).at(6), source=twin(x.address, 6), sport=x.first_port
    ),
    "an IPv6 address of the Internet": lambda w, s, x: frame(
        s, _origin(w).at(6), source="2001:db8:1::1"
    ),
    "a foreign MAC by IPv6": lambda w, s, x: frame(
        s, _origin(w).at(6), eth_src=mac(_neighbour(w, s).mac)
    ),
    "a label by IPv6": lambda w, s, x: frame(s, w.plan.services(6)[0], eth_dst=labels.encode(2)),
    "a foreign MAC": lambda w, s, x: frame(
        s, _origin(w).address, eth_src=mac(_neighbour(w, s).mac)
    ),
    "its lease, a foreign MAC": lambda w, s, x: frame(
        s,
        _origin(w).address,
        source=x.address,
        sport=x.first_port,
        eth_src=mac(_neighbour(w, s).mac),
    ),
    "a label": lambda w, s, x: frame(s, w.plan.network.services[0], eth_dst=labels.encode(2)),
    "a label with its own lease": lambda w, s, x: frame(
        s, _origin(w).address, source=x.address, sport=x.first_port, eth_dst=labels.encode(1, 2)
    ),
    "straight to the neighbour": lambda w, s, x: frame(
        s, _neighbour(w, s).address, eth_dst=mac(_neighbour(w, s).mac)
    ),
    "broadcast": lambda w, s, x: frame(s, _origin(w).address, eth_dst=BROADCAST),
    "a DHCP server's answer": lambda w, s, x: frame(
        s, "255.255.255.255", protocol=UDP, sport=67, dport=68, eth_dst=BROADCAST
    ),
    "a DHCP server's answer to the neighbour": lambda w, s, x: frame(
        s, _neighbour(w, s).address, protocol=UDP, sport=67, dport=68
    ),
    "a VLAN tag": lambda w, s, x: frame(s, _origin(w).address, vlan_vid=0x1005),
    "a VLAN tag of number 0": lambda w, s, x: frame(s, _origin(w).address, vlan_vid=0x1000),
    "a VLAN tag around DHCP": lambda w, s, x: discover(s, vlan_vid=0x1FFF),
    "DHCP with a foreign MAC": lambda w, s, x: discover(s, eth_src=mac(_neighbour(w, s).mac)),
    "ARP: I am the gateway": lambda w, s, x: (
        arp_request(s) | {"arp_op": 2, "arp_spa": int(GATEWAY_ADDRESS)}
    ),
    "ARP: I am the neighbour": lambda w, s, x: (
        arp_request(s, _neighbour(w, s).address) | {"arp_spa": int(_neighbour(w, s).address)}
    ),
    "ARP with a foreign MAC": lambda w, s, x: (
        arp_request(s) | {"eth_src": mac(_neighbour(w, s).mac)}
    ),
}


@pytest.mark.parametrize("name", SERVER_ATTACKS)
def test_a_server_gets_nothing_through_that_is_not_its_own(w: FakeWorld, name: str) -> None:
    for server in w.servers:
        packet = SERVER_ATTACKS[name](w, server, w.lent[server.name])
        journey = w.network.only(server, packet)
        assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SPOOF)
        assert journey.hops == (server.switch,)


CLIENT_ATTACKS: dict[str, Attack] = {
    "a lease": lambda w, c, x: frame(c, _origin(w).address, source=x.address, sport=x.first_port),
    "a service address": lambda w, c, x: frame(
        c, _origin(w).address, source=w.plan.network.services[0]
    ),
    "another client's address": lambda w, c, x: frame(
        c, _origin(w).address, source=next(o for o in w.clients if o is not c).address
    ),
    "a foreign MAC": lambda w, c, x: frame(
        c, w.plan.network.services[0], eth_src=mac(w.servers[0].mac)
    ),
    "the gateway's MAC": lambda w, c, x: frame(
        c, w.plan.network.services[0], eth_src=mac(GATEWAY_MAC)
    ),
    "a label": lambda w, c, x: frame(c, w.plan.network.services[0], eth_dst=labels.encode(1)),
    "a label past the landing": lambda w, c, x: frame(c, x.address, eth_dst=labels.encode(1, 2)),
    "a DHCP server's answer": lambda w, c, x: frame(
        c, w.servers[0].address, protocol=UDP, sport=67, dport=68
    ),
    "a VLAN tag": lambda w, c, x: frame(c, w.plan.network.services[0], vlan_vid=0x1FFF),
    "DHCP": lambda w, c, x: discover(c),
}


@pytest.mark.parametrize("name", CLIENT_ATTACKS)
def test_a_client_gets_nothing_through_that_is_not_its_own(w: FakeWorld, name: str) -> None:
    lease = w.lent[w.servers[0].name]
    for client in w.clients:
        journey = w.network.only(client, CLIENT_ATTACKS[name](w, client, lease))
        assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SPOOF)
        assert journey.hops == (client.switch,)


def test_dhcp_from_a_server_is_handed_to_the_controller(w: FakeWorld) -> None:
    server = w.servers[0]
    renewal = frame(server, GATEWAY_ADDRESS, protocol=UDP, sport=68, dport=67)
    for packet in (discover(server), renewal):
        journey = w.network.only(server, packet)
        assert (journey.fate, journey.where) == (Fate.PUNTED, server.switch)
        assert (journey.duty, journey.packet) == (Duty.PUNT, packet)


def test_every_host_is_told_the_gateways_mac(w: FakeWorld) -> None:
    for host in w.plan.hosts:
        journey = w.network.only(host, arp_request(host))
        assert (journey.fate, journey.where) == (Fate.DELIVERED, host.name)
        assert journey.packet == {
            "eth_src": mac(GATEWAY_MAC),
            "eth_dst": mac(host.mac),
            "eth_type": 0x0806,
            "arp_op": 2,
            "arp_sha": mac(GATEWAY_MAC),
            "arp_spa": int(GATEWAY_ADDRESS),
            "arp_tha": mac(host.mac),
            "arp_tpa": int(host.address),
        }


def test_no_switch_passes_on_what_hosts_may_not_send(w: FakeWorld) -> None:
    """A neighbour that failed to guard its own hosts does not help them."""
    for switch in w.plan.switches:
        fake = w.network.switches[switch.name]
        for port in sorted(fake.ports):
            for more in ({"vlan_vid": 0x1005}, {"udp_dst": 68, "udp_src": 67}):
                protocol = UDP if "udp_dst" in more else TCP
                packet = frame(_origin(w), w.servers[0].address, protocol=protocol, **more)
                (outcome,) = fake.receive(packet, port)
                assert (outcome.duty, outcome.outputs) == (Duty.SPOOF, ())


def test_ipv6_noise_is_dropped_but_is_no_spoof(w: FakeWorld) -> None:
    """A host reports to groups that it listens; nothing else from a link-local address is right."""
    for host in w.plan.hosts:
        report = frame(host, "ff02::16", source="fe80::2", protocol=ICMP, eth_dst=0x333300000016)
        journey = w.network.only(host, report)
        assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.DEFAULT)
        journey = w.network.only(host, frame(host, "fe80::1", source="fe80::2"))
        assert (journey.fate, journey.duty) == (Fate.DROPPED, Duty.SPOOF)
