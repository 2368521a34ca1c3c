"""DHCP messages: byte-exact vectors, there and back again, and garbage."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller import dhcp, exchange
from controller.core.lease import SECOND, Lease, LeaseState
from controller.dhcp import DhcpError, Kind, Message, Option, PortParameters
from topologies.plan import GATEWAY_ADDRESS

MAC = bytes.fromhex("020aac100001")
LEASE = Lease(
    address=IPv4Address("203.0.113.7"),
    psid=5,
    psid_bits=5,
    state=LeaseState.LENT,
    server="LHR-s1",
    pop="LHR",
    tag="any",
    home="LHR",
    client_id="",
    number=1,
    since_ns=0,
    until_ns=120 * SECOND,
)

addresses = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
options = st.lists(
    st.tuples(
        st.integers(1, 254).filter(lambda code: code not in (Option.KIND, Option.OVERLOAD)),
        st.binary(max_size=600),
    ),
    max_size=6,
    unique_by=lambda option: option[0],
).map(tuple)
messages = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    xid=st.integers(0, 0xFFFFFFFF),
    mac=st.binary(min_size=6, max_size=6),
    options=options,
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    secs=st.integers(0, 0xFFFF),
    broadcast=st.booleans(),
)


def test_slice_five_of_thirty_two() -> None:
    message = Message(
        Kind.OFFER, 1, MAC, ((int(Option.PORT_PARAMETERS), PortParameters(5, 5).encode()),)
    )
    assert bytes.fromhex("9f0400052800") in dhcp.build(message)
    assert PortParameters.decode(bytes.fromhex("00052800")) == PortParameters(5, 5)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("00000000", PortParameters(0, 0)),  # the whole address
        ("00100001", PortParameters(16, 1)),  # one port
        ("06083400", PortParameters(8, 0x34, 6)),  # RFC 7597 offset
        ("00010000", PortParameters(1, 0)),
        ("00018000", PortParameters(1, 1)),
    ],
)
def test_port_parameters(text: str, parameters: PortParameters) -> None:
    assert parameters.encode().hex() == text
    assert PortParameters.decode(bytes.fromhex(text)) == parameters


@pytest.mark.parametrize(
    "text", ["", "000528", "0005280000", "00052801", "00112800", "0f022800", "10012800"]
)
def test_wrong_port_parameters(text: str) -> None:
    with pytest.raises(DhcpError):
        PortParameters.decode(bytes.fromhex(text))


@given(messages)
def test_there_and_back(message: Message) -> None:
    assert dhcp.parse(dhcp.build(message)) == message


@given(st.binary(max_size=400))
def test_garbage_is_refused_not_fatal(data: bytes) -> None:
    with pytest.raises(DhcpError):
        dhcp.parse(data)


@given(messages, st.data())
def test_a_damaged_message_is_read_or_refused(message: Message, data: st.DataObject) -> None:
    raw = bytearray(dhcp.build(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    with contextlib.suppress(DhcpError):
        found = dhcp.parse(bytes(raw[:cut]))
        assert dhcp.parse(dhcp.build(found)) == found
        exchange.understand(found, found.mac)


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda raw: raw[:239], "too few"),
        (lambda raw: b"\x03" + raw[1:], "op 3"),
        (lambda raw: b"\x02" + raw[1:], "does not go with DISCOVER"),
        (lambda raw: raw[:1] + b"\x06" + raw[2:], "hardware"),
        (lambda raw: raw[:236] + b"\0\0\0\0" + raw[240:], "magic"),
        (lambda raw: raw[:240] + b"\xff", "message type"),
        (lambda raw: raw[:240] + b"\x35\x01\x0a\xff", "unknown message type 10"),
        (lambda raw: raw[:240] + b"\x35\x01\x01", "no end"),
        (lambda raw: raw[:240] + b"\x35\x01\x01\x32\x09\x01\xff", "runs over"),
        (lambda raw: raw[:240] + b"\x35\x01\x01\x34\x01\x01\xff", "overload"),
    ],
)
def test_each_flaw_is_named(spoil: object, cause: str) -> None:
    assert callable(spoil)
    raw = dhcp.build(Message(Kind.DISCOVER, 1, MAC))
    with pytest.raises(DhcpError, match=cause):
        dhcp.parse(spoil(raw))


def test_scapy_reads_an_offer() -> None:
    scapy = pytest.importorskip("scapy.layers.dhcp")
    request = Message(Kind.DISCOVER, 0xDEADBEEF, MAC)
    raw = dhcp.build(exchange.offer(request, LEASE, 120 * SECOND))
    bootp = scapy.BOOTP(raw)
    assert (bootp.op, bootp.xid, bootp.yiaddr) == (2, 0xDEADBEEF, "203.0.113.7")
    assert bootp.chaddr[:6] == MAC
    found = dict(option[:2] for option in bootp[scapy.DHCP].options if isinstance(option, tuple))
    assert found["message-type"] == 2
    assert found["lease_time"] == 120
    assert found["renewal_time"] == 60
    assert found["rebinding_time"] == 105
    assert found["server_id"] == str(GATEWAY_ADDRESS)
    assert bytes.fromhex("9f0400052800") in raw


def test_we_read_what_scapy_asks() -> None:
    scapy = pytest.importorskip("scapy.layers.dhcp")
    asked = [
        ("message-type", "discover"),
        ("param_req_list", [51, 159]),
        ("hostname", b"LHR-s1"),
        "end",
    ]
    raw = bytes(scapy.BOOTP(op=1, xid=7, chaddr=MAC) / scapy.DHCP(options=asked))
    message = dhcp.parse(raw)
    assert (message.kind, message.xid, message.mac) == (Kind.DISCOVER, 7, MAC)
    assert exchange.understand(message, MAC) == exchange.Lend()


def request(kind: Kind, *given: tuple[int, bytes], **fields: IPv4Address) -> Message:
    return Message(kind, 9, MAC, tuple((int(code), value) for code, value in given), **fields)


SET = PortParameters(5, 5)
PORTS = (int(Option.PORT_PARAMETERS), SET.encode())
OURS = (int(Option.SERVER_ID), GATEWAY_ADDRESS.packed)
NAME = (int(Option.CLIENT_ID), dhcp.client_identifier("web"))
TAG = (int(Option.USER_CLASS), dhcp.user_class("gb"))
ASKED = (int(Option.REQUESTED_ADDRESS), LEASE.address.packed)


@pytest.mark.parametrize(
    ("message", "wish"),
    [
        (request(Kind.DISCOVER, (Option.PARAMETERS, b"\x9f")), exchange.Lend()),
        (request(Kind.DISCOVER, PORTS), exchange.Lend(psid_bits=5)),
        (request(Kind.DISCOVER, (Option.PORT_PARAMETERS, bytes(4))), exchange.Lend()),
        (request(Kind.DISCOVER, PORTS, TAG, NAME), exchange.Lend("gb", "web", 5)),
        (
            request(Kind.DISCOVER, PORTS, (Option.CLIENT_ID, b"\x01" + MAC)),
            exchange.Lend(client_id="0x" + (b"\x01" + MAC).hex(), psid_bits=5),
        ),
        (
            request(Kind.REQUEST, PORTS, NAME, ciaddr=LEASE.address),
            exchange.Keep(LEASE.address, SET, "web"),
        ),
        (request(Kind.REQUEST, ASKED, OURS, PORTS), exchange.Keep(LEASE.address, SET)),
        (request(Kind.REQUEST, PORTS, ciaddr=LEASE.address), exchange.Keep(LEASE.address, SET)),
        (request(Kind.RELEASE, PORTS, ciaddr=LEASE.address), exchange.GiveBack(LEASE.address, SET)),
        (request(Kind.DECLINE, PORTS, ASKED), exchange.GiveBack(LEASE.address, SET)),
    ],
)
def test_what_is_understood(message: Message, wish: exchange.Wish) -> None:
    assert exchange.understand(message, MAC) == wish


@pytest.mark.parametrize(
    "message",
    [
        request(Kind.DISCOVER),  # would take every port for its own
        request(Kind.INFORM),
        request(Kind.REQUEST, ASKED, PORTS, (Option.SERVER_ID, b"\x0a\0\0\x01")),
    ],
)
def test_what_is_ignored(message: Message) -> None:
    assert isinstance(exchange.understand(message, MAC), exchange.Ignore)


@pytest.mark.parametrize(
    ("option", "cause"),
    [
        ((Option.CLIENT_ID, b""), "option 61 has 0 bytes"),
        ((Option.CLIENT_ID, b"\0"), "option 61 has 1 bytes"),
        ((Option.CLIENT_ID, b"\0" * 66), "option 61 has 66 bytes"),
        ((Option.USER_CLASS, b""), "not one user class"),
        ((Option.USER_CLASS, b"gb"), "not one user class"),
        ((Option.USER_CLASS, b"\2gb\2fr"), "not one user class"),
        ((Option.USER_CLASS, b"\2g\n"), "is no word"),
        ((Option.USER_CLASS, b"\2g\xff"), "is no word"),
    ],
)
def test_names_that_are_none_are_refused(option: tuple[int, bytes], cause: str) -> None:
    with pytest.raises(DhcpError, match=cause):
        exchange.understand(request(Kind.DISCOVER, PORTS, option), MAC)


@pytest.mark.parametrize(
    "value", [b"\0we\nb", b"\0w\xe9b", b"\xff\0\0\0\1", b"\2web", b"\0000xweb"]
)
def test_a_client_identifier_that_is_no_name_is_shown_in_hexadecimal(value: bytes) -> None:
    assert request(Kind.DISCOVER, (Option.CLIENT_ID, value)).client_id == "0x" + value.hex()


@given(st.binary(min_size=2, max_size=65) | st.text(min_size=1).map(lambda x: b"\0" + x.encode()))
def test_a_client_hears_of_its_lease_by_its_own_identifier(value: bytes) -> None:
    assume(len(value) <= 65)
    asked = request(Kind.DISCOVER, (Option.CLIENT_ID, value))
    told = exchange.force_renew(LEASE._replace(client_id=asked.client_id), MAC)
    assert told.option(Option.CLIENT_ID) == value
    assert dhcp.parse(dhcp.build(told)).client_id == asked.client_id


@pytest.mark.parametrize("name", ["", "x" * 65, "caf\xe9", "0xno", "0x", "0x0061", "0x00ZZ"])
def test_what_no_client_is_called_is_no_identifier(name: str) -> None:
    with pytest.raises(ValueError, match="no client identifier"):
        dhcp.client_identifier(name)


def test_every_answer_repeats_the_client_identifier() -> None:
    asked = request(Kind.REQUEST, ASKED, OURS, PORTS, NAME)
    for reply in (exchange.offer(asked, LEASE, 9), exchange.ack(asked, LEASE, 0)):
        assert reply.client_id == "web"
    assert exchange.nak(asked, "no").client_id == "web"


@pytest.mark.parametrize("seconds", range(6))
def test_a_client_renews_before_it_rebinds_or_by_its_own_times(seconds: int) -> None:
    said = exchange.offer(request(Kind.DISCOVER, PORTS), LEASE, seconds * SECOND)
    renew, rebind = (said.seconds(x) for x in (Option.RENEWAL_TIME, Option.REBINDING_TIME))
    assert renew is rebind is None if seconds < 3 else (renew or 0) < (rebind or 0) < seconds


def test_another_mac_is_refused() -> None:
    message = replace(request(Kind.DISCOVER, PORTS), mac=b"\x02\0\0\0\0\x09")
    with pytest.raises(DhcpError, match="chaddr"):
        exchange.understand(message, MAC)


def test_replies() -> None:
    asked = request(Kind.REQUEST, ASKED, OURS, PORTS)
    reply = exchange.ack(asked, LEASE, now_ns=SECOND // 2)
    assert reply.kind is Kind.ACK
    assert reply.yiaddr == LEASE.address
    assert reply.seconds(Option.LEASE_TIME) == 119  # never more than is left
    assert reply.port_parameters == PortParameters(5, 5)
    no = exchange.nak(asked, "not yours")
    assert (no.kind, no.xid, no.option(Option.MESSAGE)) == (Kind.NAK, 9, b"not yours")


def test_the_bytes_on_the_page_about_lending_are_those_on_the_wire() -> None:
    page = (Path(__file__).parents[3] / "docs" / "lending.md").read_text()
    ports = (int(Option.PORT_PARAMETERS), PortParameters(5, 10240 >> 11).encode())
    wire = dhcp.build(request(Kind.DISCOVER, ports, NAME, TAG))
    shown = re.findall(r"\| `([0-9a-f ]+)` \|", page)
    assert len(shown) == 3
    assert all(bytes.fromhex(text) in wire for text in shown)


CLIENT, SERVERS_OWN = IPv4Address("172.16.0.9"), IPv4Address("172.16.0.1")


@pytest.mark.parametrize(
    ("broadcast", "ciaddr", "giaddr", "source", "refused", "to"),
    [
        (False, None, None, None, False, exchange.EVERYONE),
        (False, None, None, SERVERS_OWN, False, SERVERS_OWN),
        (True, None, None, SERVERS_OWN, False, exchange.EVERYONE),
        (True, CLIENT, None, CLIENT, False, CLIENT),
        (False, CLIENT, None, CLIENT, True, exchange.EVERYONE),
        (False, None, SERVERS_OWN, SERVERS_OWN, True, SERVERS_OWN),
    ],
)
def test_a_reply_goes_where_it_can_be_heard(
    broadcast: bool,
    ciaddr: IPv4Address | None,
    giaddr: IPv4Address | None,
    source: IPv4Address | None,
    refused: bool,
    to: IPv4Address,
) -> None:
    nowhere = IPv4Address(0)
    asked = request(Kind.REQUEST, PORTS, ciaddr=ciaddr or nowhere)
    asked = replace(asked, giaddr=giaddr or nowhere, broadcast=broadcast)
    reply = exchange.nak(asked, "no") if refused else exchange.ack(asked, LEASE, 0)
    assert reply.giaddr == asked.giaddr
    assert exchange.destination(reply, source or nowhere) == to
