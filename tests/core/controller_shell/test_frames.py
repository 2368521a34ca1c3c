"""UDP frames against scapy's and their own parser."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.frames import Datagram, FrameError, build, parse

addresses = st.integers(0, 0xFFFFFFFF).map(IPv4Address)
ports = st.integers(0, 0xFFFF)
macs = st.binary(min_size=6, max_size=6)
datagrams = st.builds(
    Datagram, macs, macs, addresses, addresses, ports, ports, st.binary(max_size=600)
)
ONE = Datagram(
    bytes.fromhex("020000000001"),
    bytes.fromhex("020aac100001"),
    IPv4Address("169.254.1.1"),
    IPv4Address("172.16.0.1"),
    67,
    68,
    b"borrowed",
)


@given(datagrams)
def test_there_and_back(datagram: Datagram) -> None:
    assert parse(build(datagram)) == datagram


@given(datagrams)
def test_scapy_builds_the_same_bytes(datagram: Datagram) -> None:
    scapy = pytest.importorskip("scapy.all")
    made = (
        scapy.Ether(src=datagram.eth_src.hex(":"), dst=datagram.eth_dst.hex(":"), type=0x800)
        / scapy.IP(src=str(datagram.source), dst=str(datagram.target), id=0, ttl=64, proto=17)
        / scapy.UDP(sport=datagram.source_port, dport=datagram.target_port)
        / scapy.Raw(datagram.payload)
    )
    assert build(datagram) == bytes(made)


def test_trailing_padding_is_not_payload() -> None:
    assert parse(build(ONE) + b"\0" * 18) == ONE


@given(datagrams, st.data())
def test_a_damaged_datagram_is_never_taken_for_another(
    datagram: Datagram, data: st.DataObject
) -> None:
    raw = bytearray(build(datagram))
    at = data.draw(st.integers(14, len(raw) - 1))
    flipped = raw[at] ^ data.draw(st.integers(1, 255))
    # The checksum cannot see a byte of all ones where there was zero, or the reverse.
    raw[at] = flipped
    with contextlib.suppress(FrameError):
        found = parse(bytes(raw))
        unseen = {0x00, 0xFF}
        assert found == datagram or flipped in unseen or raw[40:42] == b"\0\0"


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda raw: raw[:20], "no IPv4"),
        (lambda raw: raw[:12] + b"\x86\xdd" + raw[14:], "no IPv4"),
        (lambda raw: raw[:23] + b"\x06" + raw[24:], "no UDP"),
        (lambda raw: raw[:20] + b"\x20\x00" + raw[22:], "fragment"),
        (lambda raw: raw[:-1], "do not fit"),
        (lambda raw: raw[:22] + b"\x01" + raw[23:], "IPv4 checksum"),
        (lambda raw: raw[:-1] + b"X", "UDP checksum"),
    ],
)
def test_each_flaw_is_named(spoil: object, cause: str) -> None:
    assert callable(spoil)
    with pytest.raises(FrameError, match=cause):
        parse(spoil(build(ONE)))
