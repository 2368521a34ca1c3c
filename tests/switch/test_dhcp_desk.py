"""DHCP as switches hand it up: answered, counted, and in what order when there is too much."""

from __future__ import annotations

import struct
from collections import Counter
from ipaddress import IPv4Address

import eventlet
import pytest

from controller import dhcp, frames
from controller.core.lease import Lease
from controller.dhcp import Kind, Message, Option, PortParameters
from controller.dhcp_desk import DhcpDesk
from controller.exchange import MESSAGES_AT_ONCE
from controller.lender import Changed
from tests.fakes.inside import PLAN, SERVERS, Inside, fresh
from topologies.plan import HostPlan

AT_ONCE = 32
EVERYONE = IPv4Address("255.255.255.255")
USUAL = PortParameters(0, 0)


class Port:
    """What a server says at its port, and what it hears there."""

    def __init__(self, server: HostPlan) -> None:
        self.server = server
        self.identity = (PLAN.switch(server.switch).dpid, server.port)
        self.packets = 0

    def frame(self, message: Message) -> bytes:
        """As its kernel sends it: every packet has a number of its own."""
        self.packets += 1
        source = message.ciaddr
        mac, payload = message.mac, dhcp.build(message)
        ports = (dhcp.CLIENT_PORT, dhcp.SERVER_PORT)
        whole = bytearray(
            frames.build(frames.Datagram(mac, b"\xff" * 6, source, EVERYONE, *ports, payload))
        )
        struct.pack_into("!H", whole, 18, self.packets)
        checksum = struct.unpack_from("!H", whole, 24)[0] - self.packets
        struct.pack_into("!H", whole, 24, checksum % 0xFFFF)
        frames.parse(bytes(whole))
        return bytes(whole)

    def discover(self, xid: int = 1) -> bytes:
        """It wants a port set, by a name for each transaction."""
        return self.frame(self._message(Kind.DISCOVER, xid, USUAL))

    def request(self, lease: Lease, xid: int = 1) -> bytes:
        """It takes up what it was offered."""
        wanted = (int(Option.REQUESTED_ADDRESS), lease.address.packed)
        ports = PortParameters(lease.psid_bits, lease.psid)
        return self.frame(self._message(Kind.REQUEST, xid, ports, wanted))

    def _message(
        self, kind: Kind, xid: int, ports: PortParameters, *given: tuple[int, bytes]
    ) -> Message:
        name = (int(Option.CLIENT_ID), dhcp.client_identifier(str(xid)))
        described = (int(Option.PORT_PARAMETERS), ports.encode())
        return Message(kind, xid, frames.octets(self.server.mac), (*given, name, described))


class Desk:
    """A desk in a controller's inside, and what it sends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside = Inside(*fresh())
        self.counts: Counter[str] = Counter()
        self.desk = DhcpDesk(self.inside.loop, self.inside.lender, self.counts)
        self.sent: list[Message] = []
        for switch in self.inside.switches.values():
            monkeypatch.setattr(switch.session, "packet_out", self._heard)

    def _heard(self, _port: int, frame: bytes) -> None:
        self.sent.append(dhcp.parse(frames.parse(frame).payload))

    def hear(self, port: Port, *said: bytes) -> list[Message]:
        """What is sent by the time that everything is over."""
        for frame in said:
            self.desk.hear(port.identity, frame)
        before = len(self.sent)
        self.inside.settle()
        return self.sent[before:]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("controller.dhcp_desk.OFFERS_AT_ONCE", AT_ONCE)
    return Desk(monkeypatch)


def test_a_server_borrows_by_four_messages(desk: Desk) -> None:
    port = Port(SERVERS[0])
    (offer,) = desk.hear(port, port.discover())
    (lease,) = desk.inside.book.live()
    (ack,) = desk.hear(port, port.request(lease))
    assert (offer.kind, ack.kind) == (Kind.OFFER, Kind.ACK)
    assert offer.yiaddr == ack.yiaddr == lease.address
    assert desk.counts == {}


def test_a_refusal_says_how_things_stand(desk: Desk) -> None:
    port = Port(SERVERS[0])
    desk.hear(port, port.discover())
    (lease,) = desk.inside.book.live()
    (nak,) = desk.hear(port, port.request(lease, xid=2))  # by another name
    assert nak.kind is Kind.NAK
    assert b"is lent and not held by this client" in (nak.option(Option.MESSAGE) or b"")


def test_a_repeat_of_what_is_in_work_is_dropped_whatever_number_its_packet_has(desk: Desk) -> None:
    port = Port(SERVERS[0])
    said = [port.discover(), port.discover(), port.discover()]
    assert len(set(said)) == 3
    assert [x.kind for x in desk.hear(port, *said)] == [Kind.OFFER]
    assert desk.counts["dhcp_dropped"] == 2
    assert [x.kind for x in desk.hear(port, port.discover())] == [Kind.OFFER]  # it may be lost


def test_a_port_says_only_so_much(desk: Desk) -> None:
    port, other = Port(SERVERS[0]), Port(SERVERS[1])
    for xid in range(int(MESSAGES_AT_ONCE)):
        desk.hear(port, port.discover(xid))
    assert not desk.counts
    assert desk.hear(port, port.discover(99)) == []
    assert desk.counts["dhcp_dropped"] == 1
    assert len(desk.hear(other, other.discover())) == 1


@pytest.mark.parametrize(
    ("said", "counted"),
    [(b"\0" * 60, "dhcp_malformed"), (b"", "dhcp_malformed")],
)
def test_what_is_no_dhcp_is_counted(desk: Desk, said: bytes, counted: str) -> None:
    assert desk.hear(Port(SERVERS[0]), said) == []
    assert desk.counts == {counted: 1}


def test_only_a_servers_port_is_heard(desk: Desk) -> None:
    port = Port(SERVERS[0])
    port.identity = (port.identity[0], 999)
    assert desk.hear(port, port.discover()) == []
    assert desk.counts == {"dhcp_ignored": 1}


def test_who_has_an_offer_is_not_kept_waiting_by_a_crowd_that_has_none(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.dhcp_desk.PATIENCE_S", 0.02)
    taker, crowd = Port(SERVERS[0]), [Port(server) for server in SERVERS[1:]]
    desk.hear(taker, taker.discover())
    (lease,) = desk.inside.book.live()
    gate, begun, lend = eventlet.Event(), [], desk.inside.lender.lend

    def slowly(*wish: object) -> Changed:
        begun.append(wish)
        gate.wait()
        return lend(*wish)  # type: ignore[arg-type]

    monkeypatch.setattr(desk.inside.lender, "lend", slowly)
    asked = 0
    while asked < AT_ONCE + 5:
        asked += 1
        port = crowd[asked % len(crowd)]
        desk.hear(port, port.discover(asked))
    assert len(begun) == AT_ONCE
    assert [x.kind for x in desk.hear(taker, taker.request(lease))] == [Kind.ACK]
    with eventlet.Timeout(5):
        while desk.counts["dhcp_dropped"] < 5:  # their time is up
            eventlet.sleep(0.005)
    gate.send()
    desk.inside.settle()
    last = crowd[0]
    assert desk.hear(last, last.discover(999))[-1].kind is Kind.OFFER
    assert len(begun) == AT_ONCE + 1


def test_no_more_is_offered_than_the_switches_keep_up_with(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.dhcp_desk.PATIENCE_S", 0.02)
    ports = [Port(server) for server in SERVERS[1:]]
    for wire in desk.inside.wires.values():
        wire.hold = True
    for xid in range(AT_ONCE + 5):
        port = ports[xid % len(ports)]
        desk.desk.hear(port.identity, port.discover(xid))
    with eventlet.Timeout(5):
        while desk.counts["dhcp_dropped"] < 5:
            eventlet.sleep(0.005)
    assert [x.kind for x in desk.sent] == [Kind.OFFER] * AT_ONCE  # at once: it holds what it has
    for wire in desk.inside.wires.values():
        wire.hold = False
        wire.release()
    last = ports[0]
    assert desk.hear(last, last.discover(999))[-1].kind is Kind.OFFER
