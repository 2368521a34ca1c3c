"""Health checks as frames, read and written by Scapy."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from controller import probe
from controller.frames import FrameError
from topologies.plan import GATEWAY_MAC, HostRole, plan
from topologies.sources import load

SERVER = plan(load("triangle")).hosts_of(HostRole.SERVER)[0]
SERVICE = IPv4Address("198.51.100.1")


@pytest.mark.parametrize(
    ("made", "flags", "sequence"), [(probe.ask, "S", 0), (probe.hang_up, "R", 1)]
)
def test_a_check_is_what_it_should_be(made: object, flags: str, sequence: int) -> None:
    assert callable(made)
    data = made(SERVER, SERVICE)
    frame = Ether(data)
    assert (frame.src, frame.dst) == (GATEWAY_MAC, SERVER.mac)
    assert (frame[IP].src, frame[IP].dst) == ("169.254.1.1", str(SERVICE))
    assert (frame[TCP].dport, str(frame[TCP].flags), frame[TCP].seq) == (80, flags, sequence)
    del frame[IP].chksum, frame[TCP].chksum
    assert bytes(frame) == data  # Scapy works out the same checksums


@pytest.mark.parametrize(
    ("flags", "serves"), [("SA", True), ("RA", False), ("R", False), ("A", None), ("S", None)]
)
def test_an_answer_is_understood(flags: str, serves: bool | None) -> None:
    answer = Ether() / IP(src=str(SERVICE), dst="169.254.1.1") / TCP(sport=80, dport=7, flags=flags)
    assert probe.answers(bytes(answer)) is serves


@pytest.mark.parametrize("size", [0, 10, 14, 15, 34, 53])
def test_what_is_cut_short_is_refused(size: int) -> None:
    whole = bytes(Ether() / IP() / TCP(flags="SA"))
    with pytest.raises(FrameError):
        probe.answers(whole[:size])


def test_a_segment_that_is_too_short_is_refused() -> None:
    with pytest.raises(FrameError, match="5 bytes are too few for TCP"):
        probe.answers(bytes(Ether() / IP(proto=6) / b"short"))
