"""A small MTU on the way: servers that share an address find it, the service's or a lent one."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runs.testbed import Testbed
from tests.net.test_icmp import connected, mtu
from topologies.model import Policy, Upstream
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

SIZE = 100_000
CONNECTIONS = 12
NETWORK = replace(load("triangle"), upstream=Upstream.BGP, steering=Policy.BGP)
MTU = 700
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # of <linux/in.h>; Python 3.11 lacks the names


def _fetch(client: str, service: str) -> tuple[str, int]:
    """Who has served a large page over one connection, and how much of it has come."""
    urls = [f"http://{service}/trace", f"http://{service}/bytes/{SIZE}"]
    command = ["ip", "netns", "exec", client, "curl", "-s", "-m", "5", "-w", "%{size_download}\n"]
    done = subprocess.run(
        [*command, "-o", "-", urls[0], "-o", "/dev/null", urls[1]],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    server = next(x.removeprefix("server=") for x in lines if x.startswith("server="))
    return server, int(lines[-1])


def _narrow(lab: Testbed, router: str, host: str) -> None:
    """What a router sends to a host may be no longer than this."""
    port = lab.plan.link_between(router, host).near(router).interface
    subprocess.run(["ip", "-n", router, "link", "set", port, "mtu", str(MTU)], check=True)


def test_each_server_of_a_pop_learns_of_a_small_mtu(lab_folder: Path) -> None:
    with Testbed(NETWORK, folder=lab_folder) as lab:
        service = str(lab.plan.network.services[0])
        _narrow(lab, "tLHR", "LHR-c1")
        came = [_fetch("LHR-c1", service) for _ in range(CONNECTIONS)]
        assert {server for server, _ in came} == {"LHR-s1", "LHR-s2"}
        assert {size for _, size in came} == {SIZE}, came


def test_a_borrower_learns_of_it_and_who_shares_the_address_does_not(lab_folder: Path) -> None:
    pops = tuple(replace(pop, servers=2) for pop in NETWORK.pops)
    with Testbed(replace(NETWORK, pops=pops), folder=lab_folder) as lab:
        origin = lab.plan.hosts_of(HostRole.ORIGIN)[0]
        own, other = (server.name for server in lab.plan.servers_of(origin.city))
        one, two = (lab.leases()[name] for name in (own, other))
        assert one["address"] == two["address"]
        _narrow(lab, origin.switch, origin.name)
        with connected(lab, own, socket.SOCK_DGRAM, one, 7) as made:
            made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
            assert mtu(lab, own, one["address"]) is None
            made.send(b"x" * 1200)
            lab.wait(lambda: mtu(lab, own, one["address"]) == MTU, "the kernel to learn it")
        assert mtu(lab, other, two["address"]) is None
