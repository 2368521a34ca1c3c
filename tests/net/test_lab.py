"""A real lab, step by step: wired, connected, programmed, lent, and reached from inside hosts."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runs.testbed import Testbed
from topologies import sources
from topologies.emulation import netns, rtnetlink, wiring
from topologies.emulation.processes import LabError
from topologies.emulation.rtnetlink import CableEnd, Netlink
from topologies.emulation.vswitch import Bridge, Port, VSwitch
from topologies.model import Line
from topologies.plan import HostRole

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

SERVICE = "198.51.100.1"


def test_triangle_from_wiring_to_web(lab_folder: Path) -> None:
    with Testbed(sources.load("triangle"), folder=lab_folder) as lab:
        status = lab.controller_api.status()
        for name, switch in status["switches"].items():
            assert switch["connected"], name
            assert switch["programmed"], name
        assert set(status["switches"]) == {switch.name for switch in lab.plan.switches}

        # Mininet's way of asking
        client = lab.plan.hosts_of(HostRole.CLIENT)[0]
        assert lab[client.name].IP() == str(client.address)
        assert lab[client.name].intfNames() == ["eth0"]
        assert len(lab.hosts) == len(lab.plan.hosts)
        assert len(lab.links) == len(lab.plan.links)

        # ordinary programs inside hosts
        pinged = lab[client.name].cmd(f"ping -c 3 -i 0.05 -W 2 {SERVICE}")
        assert "3 received" in pinged, pinged
        page = lab[client.name].cmd(f"curl -s --max-time 5 http://{SERVICE}/trace")
        assert f"pop={client.city}" in page, page
        server = lab.plan.servers_of(client.city)[0]
        before = lab.controller_api.status()["packet_ins"]
        process = lab[server.name].popen(["iperf3", "--server", "--one-off", "--port", "5201"])
        lab.wait(
            lambda: "5201" in lab[server.name].cmd("ss -ltn"), "iperf3 to listen on the server"
        )
        report = lab[client.name].cmd(f"iperf3 --client {server.address} --time 1 --format m")
        process.wait(timeout=10)
        rate = re.search(r"([\d.]+) Mbits/sec\s+receiver", report)
        assert rate, report
        assert float(rate[1]) > 10, report
        # everything is proactive: a thousand packets and not one for the controller
        assert lab.controller_api.status()["packet_ins"] == before


def test_every_reply_to_a_borrowed_address_comes_home(lab_folder: Path) -> None:
    with Testbed(sources.load("triangle"), folder=lab_folder) as lab:
        origin = lab.plan.hosts_of(HostRole.ORIGIN)[0]
        for server, lease in lab.leases().items():
            source, first = lease["address"], lease["first_port"]
            page = lab[server].cmd(
                f"curl -s --max-time 5 --interface {source} http://{origin.address}/whoami"
            )
            assert f"client={source}" in page, (server, page)
            port = int(re.search(r"client_port=(\d+)", page)[1])
            assert first <= port <= lease["last_port"], (server, page)
            # a port that another server holds, or nobody: the source guard drops it
            foreign = (first + 2048) % 65536
            refused = lab[server].cmd(
                f"curl -s --max-time 1 --interface {source} --local-port {foreign} "
                f"http://{origin.address}/whoami; echo code=$?"
            )
            assert "client=" not in refused, (server, refused)
            assert "code=28" in refused or "code=45" in refused, (server, refused)


@pytest.mark.parametrize("cable", ["emulated", "plain"])
def test_a_link_is_cut_and_comes_back(lab_folder: Path, cable: str) -> None:
    network = sources.load("triangle")
    if cable == "plain":
        clients = tuple(replace(at, access=Line()) for at in network.clients)
        network = replace(network, clients=clients)
    with Testbed(network, folder=lab_folder) as lab:
        (link,) = lab.linksBetween(lab["LHR-c1"], lab["tLHR"])
        assert re.fullmatch(r"LHR-c1-eth0<->tLHR-eth\d", str(link))

        def reached() -> bool:
            command = ["ip", "netns", "exec", "LHR-c1", "ping", "-c1", "-W1", SERVICE]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0

        lab.wait(reached, "the service to answer")
        assert link.status() == "(OK OK)"
        lab.configLinkStatus("LHR-c1", "tLHR", "down")
        assert link.status() == "(CUT CUT)"
        assert not reached()
        lab.configLinkStatus("LHR-c1", "tLHR", "up")
        lab.wait(reached, "the service to answer again")
        assert link.status() == "(OK OK)"


def test_dead_program_is_noticed(lab_folder: Path) -> None:
    with Testbed(sources.load("triangle"), folder=lab_folder) as lab:
        lab.check()
        lab.emulator._process.kill()
        lab.emulator._process.wait()
        with pytest.raises(Exception, match=r"delayline|link"):
            lab.check()


def test_missing_port_is_an_error(tmp_path: Path) -> None:
    wiring.raise_loopback()
    vswitch = VSwitch(tmp_path)
    vswitch.start_database()
    ports = (Port("lo", 1), Port("nowhere-eth1", 2))
    vswitch.start([Bridge("tX", 0x1001, ports)])
    with pytest.raises(LabError, match=r"tX port 2: .*nowhere-eth1"):
        vswitch.verify()
    vswitch.stop()


def test_refused_wiring_says_what_and_why() -> None:
    netns.create("host")
    with Netlink() as handle:
        ends = CableEnd("tX-eth1"), CableEnd("tX-eth2")
        handle.send([rtnetlink.cable(*ends)])
        with pytest.raises(OSError, match="cable tX-eth1 - tX-eth2: File exists"):
            handle.send([rtnetlink.cable(*ends)])
        with pytest.raises(OSError, match="tX-eth9 up"):
            handle.send([rtnetlink.up("tX-eth1"), rtnetlink.up("tX-eth9")])
    with pytest.raises(FileExistsError):
        netns.create("host")
