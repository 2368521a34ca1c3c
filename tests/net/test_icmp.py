"""ICMP about borrowed addresses on real switches: ordinary programs, and what kernels learn."""

from __future__ import annotations

import errno
import itertools
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from experiments.runs.testbed import Testbed
from topologies.emulation import anyip, netns
from topologies.plan import GATEWAY_MAC, HostPlan, HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

TURNS = itertools.count(5)


def origin(lab: Testbed) -> HostPlan:
    return lab.plan.hosts_of(HostRole.ORIGIN)[0]


def ping(lab: Testbed, server: str, address: str, identifier: int) -> bool:
    command = ["ip", "netns", "exec", server, "ping", "-c", "1", "-W", "1", "-I", address]
    command += ["-e", str(identifier), str(origin(lab).address)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def connected(
    lab: Testbed, server: str, kind: int, lease: dict[str, Any], port: int
) -> Iterator[socket.socket]:
    """A socket of a server, from its lease, connected to a port of the origin."""
    with netns.inside(server):
        made = socket.socket(socket.AF_INET, kind)
    with made:
        made.settimeout(2)
        made.bind((lease["address"], lease["first_port"] + next(TURNS)))
        made.connect((str(origin(lab).address), port))
        yield made


def refused(made: socket.socket, seconds: float = 2) -> bool:
    """Whether a connected UDP socket learns that nobody listens."""
    deadline = time.monotonic() + seconds
    made.settimeout(0.1)
    while time.monotonic() < deadline:
        try:
            made.send(b"anybody?")
            made.recv(100)
        except TimeoutError:
            continue
        except OSError as error:
            assert error.errno == errno.ECONNREFUSED
            return True
    return False


def test_icmp_reaches_the_borrower_wherever_it_stands_and_nobody_else(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        one, two = (lab.leases()[name] for name in ("LHR-s1", "LHR-s2"))
        assert one["address"] == two["address"]
        abroad = lab.control.lease_acquire("LHR-s1", client_id="abroad")
        lab.control.lease_move(f"{abroad['address']}:{abroad['first_port']}", "FCO-s1")
        anyip.accept("FCO-s1", IPv4Address(abroad["address"]))

        # An echo is by its identifier: one's own passes, a neighbour's and nobody's do not.
        for server, lease in (("LHR-s1", one), ("LHR-s2", two), ("FCO-s1", abroad)):
            assert ping(lab, server, lease["address"], lease["last_port"]), server
        assert not ping(lab, "LHR-s1", one["address"], two["first_port"])
        assert not ping(lab, "LHR-s1", one["address"], 60_000)
        counts = lab.controller_api.status()["counts"]
        assert (counts["icmp_delivered"], counts["icmp_unlent"]) == (3, 2)

        # A closed port is told to the one who asked, and to nobody else.
        with (
            connected(lab, "LHR-s2", socket.SOCK_DGRAM, two, 9) as other,
            connected(lab, "LHR-s1", socket.SOCK_DGRAM, one, 9) as made,
            connected(lab, "FCO-s1", socket.SOCK_DGRAM, abroad, 9) as far,
        ):
            assert refused(made)
            assert refused(far)
            assert other.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

        # A router says that packets are too large: the borrower's kernel learns it.
        for server, lease in (("LHR-s1", one), ("FCO-s1", abroad)):
            with connected(lab, server, socket.SOCK_DGRAM, lease, 7) as made:
                assert mtu(lab, server, lease["address"]) is None
                send(origin(lab), too_large(made, 1280))
                lab.wait(
                    lambda s=server, x=lease: mtu(lab, s, x["address"]) == 1280,
                    "the kernel to learn the path's MTU",
                )
        assert mtu(lab, "LHR-s2", two["address"]) is None


def too_large(made: socket.socket, mtu: int) -> bytes:
    """What a router would say of a packet of this connection."""
    (source, sport), (target, dport) = made.getsockname(), made.getpeername()
    quoted = IP(src=source, dst=target, len=1500, flags="DF") / UDP(sport=sport, dport=dport)
    return bytes(
        IP(src=target, dst=source) / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(bytes(quoted)[:28])
    )


def send(host: HostPlan, packet: bytes, times: int = 1) -> None:
    with netns.inside(host.name):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    frame = bytes(Ether(src=host.mac, dst=GATEWAY_MAC, type=0x0800)) + packet
    with raw:
        raw.bind(("eth0", 0x0800))
        for _ in range(times):
            raw.send(frame)


def mtu(lab: Testbed, server: str, source: str) -> int | None:
    """The MTU that a server's kernel has learnt for the way to the origin."""
    target = str(origin(lab).address)
    command = ["ip", "netns", "exec", server, "ip", "route", "get", target, "from", source]
    words = subprocess.check_output(command, text=True).split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else None


def test_a_flood_of_icmp_leaves_lending_alone(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        server = lab.plan.host("LHR-s1")
        lease = lab.leases()[server.name]
        echo = IP(src=lease["address"], dst=str(origin(lab).address)) / ICMP(
            type=8, id=lease["first_port"]
        )
        began = time.monotonic()
        send(server, bytes(echo), 20_000)
        given = lab.control.lease_acquire("LHR-s2", client_id="during")
        assert given["confirmed"]
        lab.wait(
            lambda: lab.controller_api.status()["counts"].get("icmp_dropped", 0) > 0, "some to go"
        )
        passed = 100 * (time.monotonic() - began + 1)
        counts = lab.controller_api.status()["counts"]
        assert 0 < counts["icmp_delivered"] <= passed
