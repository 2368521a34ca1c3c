"""The bytes of probes, against RFC examples and scapy."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Raw

from experiments.measure.packets import Headers, Stamp, checksum, echo_request, headers

PORTS = st.integers(0, 65_535)
ADDRESSES = st.integers(1, 2**32 - 1).map(IPv4Address)


def test_checksum_of_the_example_in_rfc_1071():
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF & ~0xDDF2


@given(st.binary(max_size=200))
def test_a_packet_with_its_checksum_sums_to_zero(data):
    data += b"\0" * (len(data) % 2)
    assert checksum(data + struct.pack("!H", checksum(data))) == 0


@given(PORTS, PORTS, st.binary(max_size=100))
def test_echo_request_is_what_scapy_builds(identifier, sequence, payload):
    oracle = bytes(ICMP(type=8, id=identifier, seq=sequence) / Raw(payload))
    assert echo_request(identifier, sequence, payload) == oracle


def test_echo_request_numbers_wrap():
    assert echo_request(65_536 + 3, 65_536 + 4, b"") == echo_request(3, 4, b"")


@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_stamp_is_found_behind_any_headers(token, probe, sequence):
    stamp = Stamp(token, probe, sequence)
    head = b"\x45" * 42 if token[0] != 0x45 else b"\x46" * 42
    assert Stamp.find(token, head + stamp.payload(56)) == stamp


def test_a_foreign_or_cut_packet_has_no_stamp():
    whole = Stamp(b"thistokn", 1, 2).payload(16)
    assert Stamp.find(b"othertok", whole) is None
    assert Stamp.find(b"thistokn", whole[:-1]) is None


def test_a_payload_that_holds_no_stamp_is_refused():
    with pytest.raises(ValueError, match="use 16 or more"):
        Stamp(b"thistokn", 1, 2).payload(15)


@given(ADDRESSES, ADDRESSES, PORTS, PORTS, st.sampled_from([TCP, UDP]), st.integers(0, 10))
def test_headers_are_what_scapy_wrote(source, destination, sport, dport, layer, words):
    options = b"\x01" * (words * 4)
    packet = IP(src=str(source), dst=str(destination), options=options or [])
    packet = bytes(packet / layer(sport=sport, dport=dport) / Raw(b"x" * 9))
    assert headers(packet) == Headers(packet[9], source, destination, sport, dport, len(packet))


def test_a_later_fragment_a_cut_packet_and_another_protocol_show_no_ports():
    fragment = bytes(IP(dst="203.0.113.1", frag=100, proto=17) / Raw(b"\x00\x07\x00\x07"))
    cut = bytes(IP(dst="203.0.113.1") / UDP(dport=7))[:22]
    icmp = bytes(IP(dst="203.0.113.1") / ICMP())
    for packet in (fragment, cut, icmp):
        assert headers(packet).source_port is None
        assert headers(packet).destination_port is None


@pytest.mark.parametrize("packet", [b"", b"\x45" * 19, b"\x60" + bytes(39)])
def test_what_is_not_ipv4_is_refused(packet):
    with pytest.raises(ValueError, match="not an IPv4 packet"):
        headers(packet)
