"""A real lab whose routers speak BGP, in real time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runs.testbed import Testbed
from tests.fakes.routed import four_networks
from topologies.emulation import speakers

pytestmark = [
    pytest.mark.net,
    pytest.mark.sandboxed,
    pytest.mark.timeout(120),
    pytest.mark.skipif(speakers.problem() is not None, reason=str(speakers.problem())),
]

HOLD_S = 180
"""BGP itself would not notice within this test."""


def served_by(lab: Testbed, client: str) -> str | None:
    """The PoP that answers a client; None if nobody does within a second."""
    service = lab.plan.network.services[0]
    told = str(lab[client].cmd(f"curl -s -m 1 http://{service}/trace"))
    return next((line[4:].strip() for line in told.splitlines() if line.startswith("pop=")), None)


def test_a_silent_pop_is_missed_until_timers_say(lab_folder: Path) -> None:
    network = four_networks()
    assert network.timers.hold_s == HOLD_S
    with Testbed(network, folder=lab_folder) as lab:
        assert [served_by(lab, f"{x}-c1") for x in ("LON", "ARN", "JFK")] == ["LHR", "LHR", "JFK"]
        # Routers count hops down, so who is on the way can be seen.
        assert "Time to live exceeded" in lab["JFK-c1"].cmd("ping -n -c 1 -W 2 -t 2 10.4.0.1")
        lab.control.link_blackhole("eLHR-tLHR")
        lab.wait(lambda: served_by(lab, "LON-c1") is None, "LON to be served by nobody", 10)
        assert [served_by(lab, "LON-c1") for _ in range(5)] == [None] * 5


def test_routers_that_watch_each_other_miss_a_silent_pop_at_once(lab_folder: Path) -> None:
    """The twin: three silent tenths of a second are enough (BFD), and they hear it again."""
    with Testbed(replace(four_networks(), bfd_ns=100_000_000), folder=lab_folder) as lab:
        assert served_by(lab, "LON-c1") == "LHR"
        begin = time.monotonic()
        lab.control.link_blackhole("eLHR-tLHR")
        lab.wait(lambda: served_by(lab, "LON-c1") == "JFK", "LON to be served by JFK", 10)
        assert time.monotonic() - begin < HOLD_S / 10
        lab.control.link_restore("eLHR-tLHR")
        lab.wait(lambda: served_by(lab, "LON-c1") == "LHR", "LON to be served by LHR", 30)


def test_a_pulled_pop_is_not(lab_folder: Path) -> None:
    """Another twin: its router sees it, and tells the others."""
    with Testbed(four_networks(), folder=lab_folder) as lab:
        assert served_by(lab, "LON-c1") == "LHR"
        lab.control.link_cut("eLHR-tLHR")
        lab.wait(lambda: served_by(lab, "LON-c1") == "JFK", "LON to be served by JFK", 10)
        lab.control.link_restore("eLHR-tLHR")
        lab.wait(lambda: served_by(lab, "LON-c1") == "LHR", "LON to be served by LHR", 30)
