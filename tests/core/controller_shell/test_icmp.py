"""Whose an ICMP message is, of messages that scapy builds and of any bytes."""

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from controller.frames import FrameError
from controller.icmp import About, about, redirected

BORROWED, ORIGIN, ROUTER = "203.0.113.7", "172.16.0.1", "172.16.9.9"
SENT = {
    "tcp": IP(src=BORROWED, dst=ORIGIN) / TCP(sport=2049, dport=80),
    "udp": IP(src=BORROWED, dst=ORIGIN) / UDP(sport=2049, dport=53) / Raw(b"x" * 40),
    "echo": IP(src=BORROWED, dst=ORIGIN) / ICMP(type=8, id=2049, seq=3),
    "options": IP(src=BORROWED, dst=ORIGIN, options=b"\x01" * 4) / TCP(sport=2049),
    "first fragment": IP(src=BORROWED, dst=ORIGIN, flags="MF") / UDP(sport=2049),
}


def error(sent: Packet, kind: int = 3, code: int = 4, to: str = BORROWED) -> bytes:
    """A router's error about a packet, with as little of it as RFC 792 asks for."""
    quoted = bytes(sent)[: sent.ihl * 4 + 8]
    return bytes(Ether() / IP(src=ROUTER, dst=to) / ICMP(type=kind, code=code) / Raw(quoted))


def built(packet: Packet) -> Packet:
    return IP(bytes(packet))


@pytest.mark.parametrize("what", SENT)
@pytest.mark.parametrize("kind", [3, 11, 12])
def test_an_error_is_the_borrowers_who_sent_what_it_quotes(what: str, kind: int) -> None:
    frame = error(built(SENT[what]), kind)
    assert about(frame) == About(IPv4Address(BORROWED), 2049, outbound=False)


def test_an_echo_is_by_its_identifier_out_and_back() -> None:
    out = Ether() / IP(src=BORROWED, dst=ORIGIN) / ICMP(type=8, id=4095) / Raw(b"x" * 56)
    back = Ether() / IP(src=ORIGIN, dst=BORROWED) / ICMP(type=0, id=4095) / Raw(b"x" * 57)
    assert about(bytes(out)) == About(IPv4Address(BORROWED), 4095, outbound=True)
    assert about(bytes(back)) == About(IPv4Address(BORROWED), 4095, outbound=False)
    padded = bytes(back) + b"\0" * 9
    assert about(padded).port == 4095


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (error(built(SENT["tcp"]), to="203.0.113.8"), "somebody else sent"),
        (error(built(IP(src=BORROWED, frag=7) / UDP(sport=2049))), "a fragment without ports"),
        (error(built(IP(src=BORROWED, proto=47) / Raw(b"x" * 9))), "protocol 47"),
        (error(built(IP(src=BORROWED) / ICMP(type=0, id=2049))), "protocol 1"),
        (error(built(SENT["tcp"]))[:-1], "do not fit"),
        (error(built(SENT["tcp"]), kind=5), "type 5 is about no port"),
        (bytes(Ether() / IP(dst=BORROWED, flags="MF") / ICMP(type=0, id=1)), "no whole ICMP"),
        (bytes(Ether() / IP(dst=BORROWED) / UDP()), "no whole ICMP"),
        (bytes(Ether() / IP(dst=BORROWED) / ICMP(type=3) / Raw(b"E" * 27)), "too short"),
        (bytes(Ether() / IP(dst=BORROWED) / ICMP(type=0, chksum=1, id=5)), "damaged"),
        (bytes(Ether() / IP(dst=BORROWED, chksum=1) / ICMP(type=0, id=5)), "no whole ICMP"),
        (b"", "no IPv4"),
    ],
)
def test_what_is_about_no_port_says_why(frame: bytes, cause: str) -> None:
    with pytest.raises(FrameError, match=cause):
        about(frame)


@given(st.binary(max_size=120), st.integers(0, 90), st.integers(0, 255))
def test_any_bytes_are_understood_or_refused(noise: bytes, at: int, value: int) -> None:
    good = bytearray(error(built(SENT["udp"])))
    good[at % len(good)] = value
    for frame in (noise, bytes(good), bytes(good[: at % len(good)])):
        with contextlib.suppress(FrameError):
            assert 0 <= about(frame).port <= 0xFFFF


def test_a_frame_that_is_sent_on_differs_in_its_macs_alone() -> None:
    frame = error(built(SENT["tcp"]))
    sent = redirected(frame, b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02")
    shown = Ether(sent)
    assert (shown.src, shown.dst) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert sent[12:] == frame[12:]
    assert shown[IPerror].src == BORROWED
