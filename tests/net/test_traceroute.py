"""Ordinary programs count hops: ping with a small TTL, and traceroute from borrowed addresses."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from experiments.control.trace import explain
from experiments.runs.testbed import Testbed
from topologies import family as families
from topologies.model import Policy, Upstream
from topologies.plan import LINK_ADDRESSES, HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]


def _run(host: str, *command: str) -> str:
    inside = ["ip", "netns", "exec", host, *command]
    return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60).stdout


def _told(host: str, target: str, hops: int) -> str | None:
    """Who tells a host that a ping has not come further; None if it has."""
    said = _run(host, "ping", "-n", "-c", "1", "-W", "2", "-t", str(hops), target)
    found = re.search(r"From (\S+) icmp_seq=1 Time.*exceeded", said)
    assert found or " 0% packet loss" in said, said
    return found[1] if found else None


def _way(lab: Testbed, host: str, target: str, **more: object) -> list[str]:
    """The addresses of the switches on the way, as the switches themselves tell it."""
    found = explain(lab, host, target, **more)  # type: ignore[arg-type]
    return [str(lab.plan.switch(hop["switch"]).address) for hop in found["there"]]


def test_a_ping_that_may_not_go_far_is_answered_by_each_switch_in_turn(lab_folder: Path) -> None:
    with Testbed(load("europe"), folder=lab_folder) as lab:
        service = str(lab.plan.network.services[0])
        clients = lab.plan.hosts_of(HostRole.CLIENT)
        far = lab.plan.hosts_of(HostRole.ORIGIN)[-1]
        for client, target in [(clients[0].name, far.name), (clients[-1].name, service)]:
            way = _way(lab, client, target, protocol="icmp")
            address = str(far.address) if target == far.name else target
            told = [_told(client, address, hops) for hops in range(1, len(way) + 2)]
            assert told == [*way, None]
        six = str(far.at(6))
        way = _way(lab, clients[0].name, six, protocol="icmp")
        twins = [str(families.twin(IPv4Address(at))) for at in way]
        told = [_told(clients[0].name, six, hops) for hops in range(1, len(way) + 2)]
        assert told == [*twins, None]


def test_over_bgp_routers_and_edge_switches_are_hops_alike(lab_folder: Path) -> None:
    network = replace(load("triangle"), upstream=Upstream.BGP, steering=Policy.BGP)
    with Testbed(network, folder=lab_folder) as lab:
        client = lab.plan.hosts_of(HostRole.CLIENT)[0]
        target = lab.plan.servers_of("FCO")[0] if client.city != "FCO" else lab.plan.hosts[0]
        way = [hop["switch"] for hop in explain(lab, client.name, target.name)["there"]]
        told = [_told(client.name, str(target.address), n) for n in range(1, len(way) + 2)]
        assert told[-1] is None
        assert told[-2] == str(lab.plan.switch(way[-1]).address)
        assert all(IPv4Address(at or "") in LINK_ADDRESSES for at in told[1:-2])


def _traceroute(server: str, lease: dict[str, int | str], port: int, target: str) -> list[str]:
    said = _run(
        *(server, "traceroute", "-n", "-U", "-q", "1", "-w", "1", "-m", "4", "-s"),
        *(str(lease["address"]), f"--sport={port}", "-p", "33434", target),
    )
    return re.findall(r"^ *\d+  (\S+)", said, re.M)


def test_traceroute_from_a_borrowed_address_tells_its_borrower_alone(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        origin = lab.plan.hosts_of(HostRole.ORIGIN)[0]
        one, two = (lab.leases()[name] for name in ("LHR-s1", "LHR-s2"))
        assert one["address"] == two["address"]
        for server, lease in (("LHR-s1", one), ("LHR-s2", two), ("FCO-s1", lab.leases()["FCO-s1"])):
            port = lease["last_port"]
            own = {"source": lease["address"], "source_port": port, "protocol": "udp"}
            way = _way(lab, server, origin.name, port=33434, **own)
            assert len(way) >= 2
            assert _traceroute(server, lease, port, str(origin.address)) == [
                *way,
                str(origin.address),
            ]
        # Nobody who does not hold the port gets past its own switch, nor hears of it.
        assert set(_traceroute("LHR-s1", one, two["first_port"], str(origin.address))) == {"*"}
