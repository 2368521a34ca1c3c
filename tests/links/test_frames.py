"""What the daemon must not touch: tags, offload frames, checksums, IPv6, jumbo frames."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.links.bench import HEADER, Bench, ip, wait_for
from topologies.emulation.links import Impairment

pytestmark = [pytest.mark.net, pytest.mark.alone]

MS = 1_000_000
UDP_SEGMENT = 103


def test_frames_of_every_size_pass_untouched(bench: Bench) -> None:
    bench.start(Impairment(delay_ns=MS), Impairment(delay_ns=MS))
    bench.mtu(9000)
    frames = [HEADER + os.urandom(size) for size in (1, 46, 47, 500, 1499, 1500, 4097, 8999, 9000)]
    try:
        for here, there in (("a", "b"), ("b", "a")):
            sender, receiver = bench.tap(here), bench.tap(there)
            for frame in frames:
                sender.send(frame)
            assert [arrival.frame for arrival in receiver.receive(len(frames))] == frames
    finally:
        bench.mtu(1500)


@pytest.mark.parametrize("tpid", [0x8100, 0x88A8])
@pytest.mark.parametrize("loss", [0.0, 1e-9])
def test_vlan_tags_pass(bench: Bench, tpid: int, loss: float) -> None:
    bench.start(Impairment(delay_ns=MS, loss=loss))
    sender, receiver = bench.tap("a"), bench.tap("b", 3)
    inner = b"\x81\x00\x00\x2a"  # a second tag, number 42, below
    payload = os.urandom(100)
    tag = tpid.to_bytes(2, "big") + (0xA07B).to_bytes(2, "big")  # priority 5, number 123
    sender.send(HEADER[:12] + tag + inner + HEADER[12:] + payload)
    (arrival,) = receiver.receive(1)
    assert arrival.tag == (tpid, 0xA07B)
    assert arrival.frame == HEADER[:12] + inner + HEADER[12:] + payload


class Transfer:
    """A TCP connection from a to b that carries random bytes."""

    def __init__(self, bench: Bench, megabytes: int, family: socket.AddressFamily) -> None:
        self.address = "2001:db8::2" if family == socket.AF_INET6 else "192.0.2.2"
        self.data = os.urandom(1 << 20) * megabytes
        self.bench, self.family = bench, family

    def run(self) -> float:
        """Carry it over; the seconds that it took. Fails unless every byte arrives."""
        server = self.bench.b.run(socket.socket, self.family)
        server.bind((self.address, 0))
        server.listen()
        client = self.bench.a.run(socket.socket, self.family)
        client.settimeout(30)
        client.connect(server.getsockname()[:2])
        peer, _ = server.accept()
        peer.settimeout(30)
        server.close()
        sender = threading.Thread(target=self._send, args=(client,))
        begin = time.monotonic()
        sender.start()
        found = hashlib.sha256()
        with peer:
            while chunk := peer.recv(1 << 20):
                found.update(chunk)
        took = time.monotonic() - begin
        sender.join()
        assert found.hexdigest() == hashlib.sha256(self.data).hexdigest()
        return took

    def _send(self, client: socket.socket) -> None:
        with client:
            client.sendall(self.data)


@pytest.fixture
def ipv6(bench: Bench) -> Iterator[None]:
    for side, host in ((bench.a, 1), (bench.b, 2)):
        side.sysctl("net/ipv6/conf/out/disable_ipv6", "0")
        ip(f"addr replace 2001:db8::{host}/64 dev out nodad", netns=side.name)
    yield
    for side in (bench.a, bench.b):
        side.sysctl("net/ipv6/conf/out/disable_ipv6", "1")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.usefixtures("ipv6")
def test_tcp_goes_in_offload_frames(bench: Bench, family: socket.AddressFamily) -> None:
    both = Impairment(delay_ns=2 * MS)
    line = bench.start(both, both)
    took = Transfer(bench, 200, family).run()
    assert 200 * 8 / took > 400, "Mbit/s"
    stats = line.stats()[bench.LINK][0]
    assert sum(stats.drops.values()) == 0
    assert stats.packets > 200 * (1 << 20) / 1460 - 1  # counted as the wire would carry them


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(delay_ns=MS, loss=0.005),
        Impairment(delay_ns=MS, duplicate=0.02),
        Impairment(delay_ns=MS, corrupt=0.005),
        Impairment(delay_ns=MS, jitter_ns=MS // 5, reorder_jitter=True),
        Impairment(rate_bit_s=800_000_000, limit_packets=5000),
    ],
    ids=["loss", "duplicate", "corrupt", "reorder", "rate"],
)
@pytest.mark.usefixtures("ipv6")
def test_tcp_is_cut_into_sound_segments(
    bench: Bench, family: socket.AddressFamily, impairment: Impairment
) -> None:
    """Every segment must be right to the last bit, or TCP would stall or the hash be wrong."""
    line = bench.start(impairment, Impairment(delay_ns=MS))
    Transfer(bench, 4, family).run()
    stats = line.stats()[bench.LINK][0]
    if impairment.corrupt:
        assert stats.corrupted > 5
    if impairment.loss:
        assert stats.drops["loss"] > 5


def test_rate_holds_for_tcp(bench: Bench) -> None:
    """Goodput over offload frames is the rate less headers: they are paced one by one."""
    rate = 100_000_000
    bench.start(Impairment(delay_ns=2 * MS, rate_bit_s=rate), Impairment(delay_ns=2 * MS))
    took = Transfer(bench, 12, socket.AF_INET).run()
    goodput = 12 * (1 << 20) * 8 / took
    assert 0.85 < goodput / (rate * 1448 / 1514) < 1.01


@pytest.mark.parametrize("loss", [0.0, 1e-9])
def test_udp_offload_frames_pass(bench: Bench, loss: float) -> None:
    bench.start(Impairment(delay_ns=MS, loss=loss))
    receiver = bench.b.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    sender = bench.a.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(("192.0.2.2", 0))
        receiver.settimeout(5)
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        data = os.urandom(10_500)
        sender.sendto(data, receiver.getsockname())
        parts = [receiver.recv(65536) for _ in range(11)]
    assert parts == [data[at : at + 1000] for at in range(0, len(data), 1000)]


def test_carrier_goes_and_returns(bench: Bench) -> None:
    line = bench.start(Impairment(delay_ns=200 * MS))
    sender, receiver = bench.tap("a"), bench.tap("b")
    sender.send_numbers(10)
    wait_for(lambda: line.stats()[bench.LINK][0].held == 10, "packets in flight")
    line.carrier(bench.LINK, False)
    wait_for(lambda: not bench.a.is_up("out") and not bench.b.is_up("out"), "the carrier to go")
    assert line.stats()[bench.LINK][0].drops["down"] == 10
    line.carrier(bench.LINK, True)
    wait_for(lambda: bench.a.is_up("out") and bench.b.is_up("out"), "the carrier to return")
    line.set(bench.LINK, a_to_b=Impairment())
    wait_for(lambda: sender.send_numbers(1) and receiver.receive(1, 0.1), "packets to pass")
