"""Two controllers on one store: the leader dies, stands still or ends; the data plane goes on."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.takeover_inside import answered_s, steady
from controller.store.etcd_place import HOLD_S
from experiments.measure.udp import EchoRow
from experiments.runs.testbed import Testbed
from tests.fakes.etcd import running
from tests.net.test_controller_ovs import management
from topologies.emulation import wiring
from topologies.emulation.ovsdb import Connection
from topologies.emulation.processes import LabError
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

RULE = re.compile(
    r"(cookie=\S+), duration=([\d.]+)s, (table=\d+), n_packets=(\d+), n_bytes=\d+, (.*)"
)
ONE, TWO = "controller", "controller-2"


def lost(rows: list[EchoRow]) -> list[EchoRow]:
    assert len(rows) > 200
    return [row for row in rows if row.outcome != "ok"]


def ages(lab: Testbed) -> dict[str, tuple[float, int]]:
    """Of every rule of every switch: how long it has been there, and the packets it has counted."""
    found = {}
    for switch in lab.plan.switches:
        command = ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", management(switch.name)]
        for line in subprocess.check_output(command, text=True).splitlines():
            parts = re.search(
                r"(cookie=\S+), duration=([\d.]+)s, (table=\d+), n_packets=(\d+)", line
            )
            if parts is not None:
                rule = line.split("n_bytes=")[1].split(", ", 1)[1]
                key = f"{switch.name} {parts[1]} {parts[3]} {rule}"
                found[key] = (float(parts[2]), int(parts[4]))
    return found


def untouched(before: dict[str, tuple[float, int]], after: dict[str, tuple[float, int]]) -> bool:
    """Whether every rule that was there has only grown older since."""
    return all(age < after[key][0] and n <= after[key][1] for key, (age, n) in before.items())


def roles(lab: Testbed) -> set[tuple[str, str]]:
    """What Open vSwitch says of its controllers, every 5 s: where they listen, and as what."""
    found = set()
    for vswitch in lab._vswitches:
        database = Connection(vswitch.folder / "db.sock")
        rows = database.select("Controller", "target", "role", "is_connected")
        found |= {(row["target"][-4:], str(row["role"])) for row in rows if row["is_connected"]}
        database.close()
    return found


def await_roles(lab: Testbed, master: str, slave: str) -> None:
    ports = {ONE: "6653", TWO: "6654"}
    wanted = {(ports[master], "master"), (ports[slave], "slave")}
    lab.wait(lambda: roles(lab) == wanted, f"{master} to be the master everywhere")


def leader(lab: Testbed) -> str | None:
    name: str | None = lab.control.status()["leader"]
    return name


def led(lab: Testbed, name: str) -> dict[str, Any]:
    """The status, as soon as that controller leads and is ready."""
    lab.wait(lambda: leader(lab) == name, f"{name} to lead")
    lab.wait(lab.controller_api.is_ready, "every switch to be programmed")
    return lab.controller_api.status()


def test_the_leader_is_killed_and_nothing_moves(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder, controllers=2) as lab:
        first = leader(lab)
        assert first in (ONE, TWO)
        second = TWO if first == ONE else ONE
        await_roles(lab, first, second)
        lab.control.server_borrow("LHR-s1", client_id="before")
        before = ages(lab)
        with steady(lab) as rows:
            time.sleep(0.3)  # of traffic
            lab.control.program_kill(first)
            took_s = answered_s(lab.plan.host("LHR-s2"))
            status = led(lab, second)
            time.sleep(0.3)  # of traffic
        assert lost(rows) == []
        assert took_s < 3  # the bound of a busy machine
        assert status["changes"] == 0
        assert untouched(before, ages(lab))
        lab.control.server_borrow("LHR-s1", client_id="after")
        assert lab.controller_api.audit()["agrees"]
        told = [x["leader"] for x in lab.controller_api.events() if x["event"] == "LeaderSet"]
        assert told == [first, second]

        with pytest.raises(LabError, match="it can only be restarted"):
            lab.control.program_continue(first)
        lab.control.program_restart(first)
        await_roles(lab, second, first)
        assert led(lab, second)["changes"] > 0


class InEtcd(Testbed):
    """A testbed whose lease book is in etcd."""

    where = ""

    @property
    def store(self) -> str:
        """There."""
        return self.where


def test_with_a_store_in_etcd_it_takes_the_time_of_a_hold(
    lab_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring.raise_loopback()
    with running(tmp_path) as (server,):
        monkeypatch.setattr(InEtcd, "where", server.at("lab"))
        with InEtcd(load("triangle"), folder=lab_folder, controllers=2) as lab:
            first = leader(lab)
            before = ages(lab)
            with steady(lab) as rows:
                lab.kill(str(first))
                took_s = answered_s(lab.plan.host("LHR-s2"))
                assert led(lab, TWO if first == ONE else ONE)["changes"] == 0
            assert lost(rows) == []
            assert HOLD_S / 2 < took_s < HOLD_S + 5
            assert untouched(before, ages(lab))
            assert lab.controller_api.audit()["agrees"]


def test_a_leader_that_stood_still_is_deposed_and_stands_by(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder, controllers=2) as lab:
        first = leader(lab)
        assert first is not None
        second = TWO if first == ONE else ONE
        before = ages(lab)
        with steady(lab) as rows:
            lab.control.program_stop(first)
            assert answered_s(lab.plan.host("LHR-s2")) < 5
            status = led(lab, second)
            assert status["changes"] == 0
            lab.control.server_borrow("LHR-s1", client_id="meanwhile")
            book = lab.controller_api.leases()
            lab.control.program_continue(first)
            lab.wait(lambda: "begins anew" in log(lab, first), "the first one to be deposed")
            lab.wait(lambda: log(lab, first).count("a standby") > 0, "it to stand by")
            await_roles(lab, second, first)
        assert lost(rows) == []
        assert untouched(before, ages(lab))
        assert leader(lab) == second
        assert lab.controller_api.audit()["agrees"]
        numbers = {(x["address"], x["first_port"]): x["number"] for x in book}
        now = lab.controller_api.leases()
        assert {(x["address"], x["first_port"]): x["number"] for x in now} == numbers
        status = lab.controller_api.status()
        assert all(switch["programmed"] for switch in status["switches"].values())


def log(lab: Testbed, program: str) -> str:
    return lab.program(program).log.read_text()


def test_a_rolling_restart_loses_nothing(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder, controllers=2) as lab:
        before = ages(lab)
        with steady(lab) as rows:
            for _ in range(2):
                present = leader(lab)
                assert present is not None
                lab.control.program_end(present)
                assert answered_s(lab.plan.host("LHR-s2")) < 5  # the bound of a busy machine
                assert led(lab, TWO if present == ONE else ONE)["changes"] == 0
                lab.control.program_restart(present)
                lab.wait(lab.stand_by, "it to stand by")
                assert lost(rows) == []
        assert untouched(before, ages(lab))
        assert lab.controller_api.audit()["agrees"]
