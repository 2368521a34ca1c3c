"""A server that stops serving leaves by itself, and comes back by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from experiments.runs.testbed import Testbed
from tests.net.test_change import served_by
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]


def test_a_server_that_crashes_leaves_within_two_checks_and_returns(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        api = lab.controller_api
        lab.wait(lambda: api.status()["counts"].get("health_answers", 0) >= 6, "all to be asked")
        assert api.world()["silent"] == []
        before = api.status()["packet_ins"]
        lab.control.server_kill("LHR-s1")
        killed = time.monotonic()
        lab.wait(lambda: api.world()["silent"] == ["LHR-s1"], "the crash to be seen")
        assert time.monotonic() - killed < 3.5  # two checks of a second each, and a busy machine
        lab.wait(lambda: served_by("LHR-c1") == "LHR-s2", "its neighbour to serve")
        assert {served_by("LHR-c1") for _ in range(8)} == {"LHR-s2"}
        lab.control.server_kill("LHR-s2")
        lab.wait(lambda: (served_by("LHR-c1") or "LHR")[:3] != "LHR", "another PoP to serve")
        lab.control.server_restart("LHR-s1")
        lab.wait(lambda: served_by("LHR-c1") == "LHR-s1", "the server to be back")
        said = [x["answers"] for x in api.events() if x["event"] == "HealthSeen"]
        assert said[:3] == [False, False, True]
        assert api.status()["packet_ins"] - before < 200  # leases are renewed; checks do not count


def test_half_open_checks_leave_no_sockets_behind(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        api = lab.controller_api
        lab.wait(lambda: api.status()["counts"].get("health_answers", 0) >= 18, "three rounds")
        found = lab.get("LHR-s1").cmd("ss -tan state syn-recv | grep -c 169.254.1.1")
        assert int(found.split()[-1]) <= 1
