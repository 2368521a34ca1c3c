"""A network that changes under traffic: links cut and restored, PoPs and servers cut off."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from experiments.errors import TrialError, UsageError
from experiments.measure.tcp import TcpAttempt, connect
from experiments.runs.testbed import Testbed
from topologies import paths
from topologies.emulation.processes import LabError
from topologies.plan import LinkKind
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.alone, pytest.mark.sandboxed]

SERVICE = "198.51.100.1"


def served_by(host: str) -> str | None:
    """The server that answers a host's request to the service; None if nobody does."""
    command = ["curl", "-s", "-m", "1", f"http://{SERVICE}/trace"]
    got = subprocess.run(
        ["ip", "netns", "exec", host, *command], capture_output=True, text=True, check=False
    )
    lines = (line.partition("=") for line in got.stdout.splitlines())
    return next((value for name, _, value in lines if name == "server"), None)


def pinged(host: str, address: object) -> bool:
    command = ["ip", "netns", "exec", host, "ping", "-c1", "-W1", str(address)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def routes(host: str) -> str:
    command = ["ip", "-n", host, "route", "show", "table", "all"]
    return subprocess.check_output(command, text=True)


def rtt_ms(host: str, address: object) -> float:
    command = ["ip", "netns", "exec", host, "ping", "-c3", "-i0.05", "-q", str(address)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.rsplit("=", 1)[1].split("/")[0])


def test_traffic_goes_round_a_cut_link_and_back_when_it_is_restored(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        client, far = lab.plan.host("LHR-c1"), lab.plan.host("FCO-c1")
        link = lab.plan.link_between("tLHR", "tFCO")
        kept = routes(client.name)
        straight = 2e-6 * paths.delays(lab.plan, client.name)[far.name]
        round_about = straight + 2e-6 * (
            lab.plan.link_between("tLHR", "tARN").line.delay_ns
            + lab.plan.link_between("tARN", "tFCO").line.delay_ns
            - link.line.delay_ns
        )
        assert rtt_ms(client.name, far.address) == pytest.approx(straight, abs=3)
        lab.set_link(link, up=False)
        cut_at = time.monotonic()
        lab.wait(lambda: pinged(client.name, far.address), "the way round to be found")
        assert time.monotonic() - cut_at < 3  # the bound of a busy machine; a second when quiet
        assert rtt_ms(client.name, far.address) == pytest.approx(round_about, abs=3)
        assert lab.controller_api.status()["ready"]
        lab.set_link(link, up=True)
        lab.wait(
            lambda: abs(rtt_ms(client.name, far.address) - straight) < 3,
            "traffic to be back on the link",
        )
        assert routes(client.name) == kept


def test_a_pop_whose_uplink_is_cut_loses_its_catchment_and_gets_it_back(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        assert (served_by("LHR-c1") or "").startswith("LHR-s")
        uplink = lab.plan.link_between("eLHR", "tLHR")
        assert uplink.kind is LinkKind.UPLINK
        lab.set_link(uplink, up=False)
        lab.wait(
            lambda: (served_by("LHR-c1") or "LHR")[:3] in ("ARN", "FCO"),
            "another PoP to serve the city",
        )
        lab.set_link(uplink, up=True)
        lab.wait(lambda: (served_by("LHR-c1") or "")[:3] == "LHR", "its own PoP to serve it again")


def test_a_server_whose_cable_is_pulled_serves_nobody(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        cable = lab.plan.link_between("LHR-s1", "eLHR")
        lab.wait(lambda: served_by("LHR-c1") == "LHR-s1", "the server to be chosen once")
        lab.set_link(cable, up=False)
        lab.wait(
            lambda: lab.controller_api.status()["switches"]["eLHR"]["behind"] == 0, "the change"
        )
        lab.wait(lambda: served_by("LHR-c1") == "LHR-s2", "its neighbour to serve")
        assert {served_by("LHR-c1") for _ in range(12)} == {"LHR-s2"}
        lab.set_link(cable, up=True)
        lab.wait(lambda: served_by("LHR-c1") == "LHR-s1", "the server to be chosen again")


def test_a_server_that_crashes_refuses_and_comes_back(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        address = lab.plan.host("LHR-s1").address

        def asked() -> str:
            (row,) = connect([TcpAttempt("LHR-c1", address)])
            return row.outcome

        got = lab_folder / "stream"
        stream = ["curl", "-s", "-o", str(got), "--limit-rate", "100k"]
        stream = [*stream, f"http://{address}/bytes/100000000"]
        with subprocess.Popen(["ip", "netns", "exec", "LHR-c1", *stream]) as slow:
            lab.wait(lambda: got.exists() and got.stat().st_size > 0, "the stream to begin")
            assert asked() == "ok"
            lab.control.server_kill("LHR-s1")
            assert asked() == "refused"
            assert slow.wait(10) == 56  # curl: the connection was reset
        assert pinged("LHR-c1", address)  # its machine lives
        with pytest.raises(LabError, match="LHR-s1 serves nothing"):
            lab.control.server_kill("LHR-s1")
        lab.control.server_restart("LHR-s1")
        assert asked() == "ok"
        with pytest.raises(LabError, match="LHR-s1 serves already"):
            lab.control.server_restart("LHR-s1")
        with pytest.raises(UsageError, match="no server 'LHR-c1'"):
            lab.control.server_kill("LHR-c1")


def test_what_happens_is_said_and_can_be_ordered_over_rest(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        api = lab.controller_api
        assert api.world()["ranking"]["LHR"][0] == "LHR"
        before = api.events()
        kinds = Counter(event["event"] for event in before)
        assert kinds == {"LeaderSet": 1, "SwitchSet": 6, "LeaseChanged": kinds["LeaseChanged"]}
        assert kinds["LeaseChanged"] >= 2 * len(lab.leases())
        numbers = [event["number"] for event in before]
        assert numbers == list(range(1, len(before) + 1))
        with ThreadPoolExecutor(1) as pool:
            news = pool.submit(api.events, after=len(before), wait_s=20)
            time.sleep(0.2)
            assert not news.done()
            api.happen({"event": "PopSet", "pop": "LHR", "state": "withdrawn"})
            event, *moved = news.result()
        assert (event["event"], event["pop"], event["state"]) == ("PopSet", "LHR", "withdrawn")
        assert [(x["event"], x["city"], x["before"]) for x in moved] == [
            ("CityMoved", "LHR", "LHR")
        ]
        lab.wait(lambda: (served_by("LHR-c1") or "LHR")[:3] != "LHR", "the PoP to be withdrawn")
        assert api.world()["pops"]["LHR"] == "withdrawn"
        api.happen({"event": "PopSet", "pop": "LHR", "state": "announced"})
        lab.wait(lambda: (served_by("LHR-c1") or "")[:3] == "LHR", "the PoP to be back")
        for refused in (
            {"event": "PopSet", "pop": "CDG", "state": "drained"},
            {"event": "PortStatus", "switch": "eLHR", "port": 1, "up": False},
            {"event": "Nonsense"},
        ):
            with pytest.raises(TrialError, match="told by the network|no PoP CDG|no event"):
                api.happen(refused)
        assert len(api.events()) == len(before) + 4
