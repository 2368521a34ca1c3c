"""What is said of a packet whose hops have run out, as scapy reads it, and of any bytes."""

import contextlib
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6TimeExceeded, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from controller.exceeded import exceeded
from controller.frames import FrameError

AT, AT6 = IPv4Address("10.3.255.254"), IPv6Address("2001:db8::a03:fffe")
ENDS = {"src": "10.1.0.1", "dst": "198.51.100.1"}
ENDS6 = {"src": "2001:db8::a01:1", "dst": "2001:db8::c633:6401"}
PACKETS = {
    "tcp": IP(**ENDS, ttl=1) / TCP(dport=80),
    "udp": IP(**ENDS, ttl=1) / UDP(dport=33434) / Raw(b"x" * 32),
    "large": IP(**ENDS, ttl=1) / UDP(dport=33434) / Raw(b"x" * 1400),
    "odd": IP(**ENDS, ttl=1) / UDP(dport=33434) / Raw(b"x" * 3),
    "echo": IP(**ENDS, ttl=1) / ICMP(type=8, id=7),
    "options": IP(**ENDS, ttl=1, options=b"\x01" * 4) / UDP(),
    "first fragment": IP(**ENDS, ttl=1, flags="MF") / UDP() / Raw(b"x" * 8),
    "tcp by IPv6": IPv6(**ENDS6, hlim=1) / TCP(dport=80),
    "large by IPv6": IPv6(**ENDS6, hlim=1) / UDP() / Raw(b"x" * 1400),
    "echo by IPv6": IPv6(**ENDS6, hlim=1) / ICMPv6EchoRequest(),
}
UNANSWERED = {
    "an error": IP(**ENDS) / ICMP(type=3) / Raw(b"x" * 28),
    "time exceeded itself": IP(**ENDS) / ICMP(type=11) / Raw(b"x" * 28),
    "a later fragment": IP(**ENDS, frag=5) / Raw(b"x" * 8),
    "to a group": IP(src=ENDS["src"], dst="224.0.0.1") / UDP(),
    "to everybody": IP(src=ENDS["src"], dst="255.255.255.255") / UDP(),
    "from nobody": IP(src="0.0.0.0", dst=ENDS["dst"]) / UDP(),
    "from itself": IP(src="127.0.0.1", dst=ENDS["dst"]) / UDP(),
    "an error by IPv6": IPv6(**ENDS6) / ICMPv6DestUnreach() / Raw(b"x" * 48),
    "to a group by IPv6": IPv6(src=ENDS6["src"], dst="ff02::1") / UDP(),
    "from nobody by IPv6": IPv6(src="::", dst=ENDS6["dst"]) / UDP(),
    "no IP": ARP(),
}


def _framed(packet: Packet) -> bytes:
    return bytes(Ether(src="02:0a:0a:01:00:01", dst="02:00:00:00:00:01") / packet)


@pytest.mark.parametrize("name", PACKETS)
def test_the_sender_is_told_and_what_it_sent_is_quoted(name: str) -> None:
    frame = _framed(PACKETS[name])
    found = exceeded(frame + b"\0" * 4, AT, AT6)  # a trailer is no part of a packet
    assert found[:14] == frame[:14]
    ip = Ether(found)[1]
    six = isinstance(ip, IPv6)
    assert (ip.src, ip.dst) == ((str(AT6), ENDS6["src"]) if six else (str(AT), ENDS["src"]))
    said = ip[ICMPv6TimeExceeded] if six else ip[ICMP]
    assert (said.type, said.code) == ((3, 0) if six else (11, 0))
    quoted, longest = bytes(said)[8:], 1280 if six else 576
    assert quoted == frame[14:][: longest - len(bytes(ip)) + len(bytes(said)) - 8]
    assert len(bytes(ip)) == len(found) - 14 <= longest
    again = ip.copy()
    if six:
        del again[ICMPv6TimeExceeded].cksum
    else:
        del again.chksum, again[ICMP].chksum
    assert bytes(again) == bytes(ip)


@pytest.mark.parametrize("name", UNANSWERED)
def test_errors_pieces_and_what_has_no_single_sender_get_no_answer(name: str) -> None:
    with pytest.raises(FrameError):
        exceeded(_framed(UNANSWERED[name]), AT, AT6)


@given(
    st.binary(max_size=120), st.sampled_from(sorted(PACKETS)), st.integers(0), st.integers(0, 255)
)
def test_any_bytes_are_answered_or_refused(noise: bytes, name: str, at: int, value: int) -> None:
    good = bytearray(_framed(PACKETS[name]))
    good[at % len(good)] = value
    for frame in (noise, bytes(good), bytes(good[: at % len(good)])):
        with contextlib.suppress(FrameError):
            assert len(exceeded(frame, AT, AT6)) >= 14 + 28
