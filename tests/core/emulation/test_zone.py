"""The name server without sockets: messages in, messages out."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.binding import binding
from topologies.emulation.endpoints.dns_stream import DnsStream
from topologies.emulation.endpoints.zone import PAYLOAD, TTL_S, Zone
from topologies.model import Names

ADDRESSES = tuple(IPv4Network("198.51.100.0/24"))


def zone(how: Names = Names.ONE) -> Zone:
    return Zone("poplab.test", binding(how, ADDRESSES, "0 LHR-s1"), "LHR-s1")


def ask(name: str, kind: str = "A", at: Zone | None = None, **more) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **more)
    wire = (at or zone()).answer(query.to_wire())
    assert wire is not None
    assert len(wire) <= 512
    answer = dns.message.from_wire(wire)
    assert query.is_response(answer)
    return answer


def texts(section: list) -> list[str]:
    return [text for records in section for text in records.to_text().splitlines()]


@pytest.mark.parametrize("name", ["www.poplab.test", "a.b.c.poplab.test", "poplab.test"])
def test_a_host_name_has_an_address_of_each_family(name: str) -> None:
    assert texts(ask(name).answer) == [f"{name}. {TTL_S} IN A 198.51.100.0"]
    assert texts(ask(name, "AAAA").answer) == [f"{name}. {TTL_S} IN AAAA 2001:db8::c633:6400"]
    assert ask(name).flags & dns.flags.AA
    assert not ask(name).flags & dns.flags.RA


@pytest.mark.parametrize("name", ["id.server", "Hostname.Bind"])
def test_who_answers_is_told_in_class_chaos_alone(name: str) -> None:
    """RFC 4892 section 2.1."""
    assert texts(ask(name, "TXT", rdclass="CH").answer) == [f'{name}. 0 CH TXT "LHR-s1"']
    assert ask(name, "A", rdclass="CH").answer == []
    assert ask(name, "TXT").rcode() == dns.rcode.REFUSED
    assert ask("www.poplab.test", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


def test_the_case_of_a_question_is_kept_and_changes_nothing() -> None:
    at = zone(Names.STATIC)
    (lower,), (mixed,) = (
        ask(name, at=at).answer for name in ("www.poplab.test", "wWw.PopLab.tEst")
    )
    assert mixed.name.to_text() == "wWw.PopLab.tEst."
    assert mixed[0] == lower[0]


def test_every_query_is_bound_by_itself() -> None:
    at = zone(Names.RANDOM)
    found = {ask("www.poplab.test", at=at).answer[0][0].address for _ in range(100)}
    assert 60 < len(found) <= 100


def test_the_apex_has_the_records_of_a_zone() -> None:
    (soa,) = texts(ask("poplab.test", "SOA").answer)
    assert soa.endswith(f"IN SOA ns.poplab.test. hostmaster.poplab.test. 1 3600 600 86400 {TTL_S}")
    assert texts(ask("poplab.test", "NS").answer) == [f"poplab.test. {TTL_S} IN NS ns.poplab.test."]


@pytest.mark.parametrize(
    ("name", "kind", "code", "authority"),
    [
        ("www.poplab.test", "MX", dns.rcode.NOERROR, 1),
        ("www.poplab.test", "NS", dns.rcode.NOERROR, 1),
        ("www.poplab.test", "TYPE65280", dns.rcode.NOERROR, 1),
        ("_dmarc.poplab.test", "TXT", dns.rcode.NXDOMAIN, 1),
        ("a._tcp.poplab.test", "A", dns.rcode.NXDOMAIN, 1),
        ("-a.poplab.test", "A", dns.rcode.NXDOMAIN, 1),
        ("www.example.com", "A", dns.rcode.REFUSED, 0),
        ("apoplab.test", "A", dns.rcode.REFUSED, 0),
        ("test", "NS", dns.rcode.REFUSED, 0),
        (".", "NS", dns.rcode.REFUSED, 0),
        ("poplab.test", "AXFR", dns.rcode.REFUSED, 0),
    ],
)
def test_what_is_not_there_is_said_so(name: str, kind: str, code: int, authority: int) -> None:
    answer = ask(name, kind)
    assert (answer.rcode(), len(answer.answer)) == (code, 0)
    assert [text.split()[3] for text in texts(answer.authority)] == ["SOA"] * authority


def test_any_gets_one_set() -> None:
    assert len(texts(ask("www.poplab.test", "ANY").answer)) == 1


def test_another_class_is_refused() -> None:
    assert ask("www.poplab.test", rdclass="CH").rcode() == dns.rcode.REFUSED


def test_edns_is_answered_with_edns_and_nothing_else_with_it() -> None:
    assert ask("www.poplab.test").edns == -1
    answer = ask("www.poplab.test", use_edns=0, payload=4096, want_dnssec=True)
    assert (answer.edns, answer.payload, answer.rcode()) == (0, PAYLOAD, dns.rcode.NOERROR)
    answer = ask("www.poplab.test", use_edns=1)
    assert (answer.edns, answer.rcode(), answer.answer) == (0, dns.rcode.BADVERS, [])


def test_the_longest_names_are_answered_within_512_bytes() -> None:
    labels = [*("a" * 63 for _ in range(3)), "a" * 49, "poplab", "test"]
    name = ".".join(labels)
    assert len(name) == 253
    assert len(ask(name, "AAAA", use_edns=0).answer) == 1
    assert len(ask(name, "MX", use_edns=0).authority) == 1


def test_other_opcodes_and_broken_queries_get_a_header() -> None:
    update = dns.message.make_query("poplab.test", "SOA")
    update.set_opcode(dns.opcode.NOTIFY)
    refused = dns.message.from_wire(zone().answer(update.to_wire()))
    assert (refused.id, refused.rcode()) == (update.id, dns.rcode.NOTIMP)
    query = dns.message.make_query("www.poplab.test", "A").to_wire()
    for broken in (query[:-1], query[:12], query[:4] + bytes(8), query + b"x"):
        answer = dns.message.from_wire(zone().answer(broken))
        assert (answer.id.to_bytes(2, "big"), answer.rcode()) == (query[:2], dns.rcode.FORMERR)


def test_what_is_no_query_gets_no_answer() -> None:
    answer = ask("www.poplab.test")
    assert zone().answer(answer.to_wire()) is None
    assert zone().answer(b"\0" * 11) is None


@given(
    st.binary(max_size=80)
    | st.binary(max_size=60).map(lambda tail: b"\1\2\0\0\0\1\0\0\0\0\0\1" + tail)
    | st.binary(max_size=40).map(
        lambda tail: b"\1\2\0\0\0\1\0\0\0\0\0\1\1a\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0" + tail
    )
)
def test_any_bytes_get_a_message_or_nothing(wire: bytes) -> None:
    answer = zone().answer(wire)
    if answer is not None:
        assert answer[:2] == wire[:2]
        assert answer[2] & 0x80


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data):
        self.written += bytes(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_queries_over_tcp_in_pieces_of_any_size(size: int) -> None:
    queries = [dns.message.make_query(f"www{n}.poplab.test", "A") for n in range(3)]
    wire = b"".join(query.to_wire(prepend_length=True) for query in queries)
    transport, connections = FakeTransport(), set()
    stream = DnsStream(zone().answer, connections)
    stream.connection_made(transport)
    assert connections == {transport}
    for at in range(0, len(wire), size):
        stream.data_received(wire[at : at + size])
    rest = transport.written
    for query in queries:
        length = int.from_bytes(rest[:2], "big")
        assert query.is_response(dns.message.from_wire(rest[2 : 2 + length]))
        rest = rest[2 + length :]
    assert (rest, transport.closed) == (b"", False)
    stream.data_received(b"\0\0")
    assert transport.closed
    stream.connection_lost(None)
    assert not connections
