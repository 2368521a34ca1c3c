"""IPv6 beside IPv4 on a real lab: ordinary programs, our probes, and false sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from experiments.control.trace import explain
from experiments.measure.http import Request, get
from experiments.measure.ping import EchoProbe, ping
from experiments.measure.tcp import TcpAttempt, connect
from experiments.measure.udp import udp_echo
from experiments.runs.testbed import Testbed
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]


def run(host: str, *command: str) -> subprocess.CompletedProcess[str]:
    whole = ["ip", "netns", "exec", host, *command]
    return subprocess.run(whole, capture_output=True, text=True, timeout=20, check=False)


def test_what_goes_by_ipv4_goes_by_ipv6(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        (service,) = lab.plan.services(6)
        for client in lab.plan.hosts_of(HostRole.CLIENT):
            page = run(client.name, "curl", "-sg", "-m", "5", f"http://[{service}]/trace").stdout
            assert f"pop={client.city}\n" in page
            assert f"client={client.at(6)}\n" in page
            assert f"host={service}\n" in page
        client, far = lab.plan.host("LHR-c1"), lab.plan.host("FCO-c1")
        assert "3 received" in run(client.name, "ping", "-6c3", "-i.1", str(far.at(6))).stdout

        probes = [EchoProbe(client.name, host.at(f)) for host in (far,) for f in (4, 6)]
        for method in (ping, udp_echo):
            rows = method(probes, count=5, interval_s=0.1)
            assert {row.outcome for row in rows} == {"ok"}
            assert {row.clock for row in rows} == {"kernel"}
            by = [[r.rtt_ns for r in rows if r.probe == n and r.sequence] for n in (0, 1)]
            assert abs(min(by[0]) - min(by[1])) < 2_000_000
        (row,) = connect([TcpAttempt(client.name, service)])
        assert (row.outcome, row.local_address) == ("ok", client.at(6))
        (fetched,) = get([Request(client.name, service, path="/bytes/100000")])
        assert (fetched.outcome, fetched.body_bytes) == ("ok", 100_000)

        found = explain(lab, client.name, str(service))
        assert found["ends"]["why"] == "delivered"
        assert found["ends"]["hosts"][0] in ("LHR-s1", "LHR-s2")
        assert found["answer_ends"]["hosts"] == [client.name]


def test_a_source_that_is_not_ones_own_is_dropped_and_counted(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        liar, victim, far = (lab.plan.host(name) for name in ("LHR-c1", "FCO-c1", "ARN-o1"))
        assert run(liar.name, "ping", "-6c1", "-W2", str(far.at(6))).returncode == 0
        before = lab.controller_api.counters()["tLHR"]["spoof"]["packets"]
        run(liar.name, "ip", "-6", "addr", "add", f"{victim.at(6)}/128", "dev", "eth0", "nodad")
        told = run(
            liar.name, "ping", "-6c3", "-i.1", "-W1", "-I", str(victim.at(6)), str(far.at(6))
        )
        assert "0 received" in told.stdout
        lab.wait(
            lambda: lab.controller_api.counters()["tLHR"]["spoof"]["packets"] >= before + 3,
            "the lies to be counted",
        )


def test_a_cut_link_leaves_a_host_its_addresses(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        client, far = lab.plan.host("LHR-c1"), lab.plan.host("FCO-c1")
        link = lab.plan.link_between(client.name, "tLHR")
        lab.set_link(link, up=False)
        lab.set_link(link, up=True)
        lab.wait(
            lambda: run(client.name, "ping", "-6c1", "-W1", str(far.at(6))).returncode == 0,
            "the client to be back",
        )
