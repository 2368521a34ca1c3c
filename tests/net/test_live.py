"""The live view of a real lab: what is done on it is done to packets, and is seen on it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.control import places
from tests.fakes import asking
from tests.fakes.live import Link, ask, events, serving_live, until

pytestmark = pytest.mark.net


def act(page: Link, word: str, **params: str) -> None:
    done = ask(page, "act", {"word": word, "params": params})
    assert done.status == 200, done.text


def test_a_lab_comes_up_with_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    command = [asking.POPLAB, "up", "triangle", "--live", "--", "LHR-c1", "sleep", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as lab:
        assert lab.stderr is not None
        port, token = lab.stderr.readline().strip().split("/")[2:4]
        link = Link(int(port.rpartition(":")[2]), token)
        try:
            with events(link) as told:  # whoever comes too early waits
                until(told, "view", lambda view: view["lab"] and view["lab"]["ready"])
                assert until(told, "trips", bool)
                assert until(told, "traffic", bool)
        finally:
            lab.terminate()


def states(view: Any) -> dict[str, str]:
    return {one["server"]: one["state"] for one in view["lab"]["servers"]}


def rtt_ms(trips: Any, client: str) -> float:
    """The last round trip of a client; 0 if it was lost."""
    return next(trip["rtt_ms"] or 0.0 for trip in trips if trip["client"] == client)


def test_a_flood_meets_one_machine_or_all_pops(
    lab: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """At a server's own address it goes to one PoP; at the service's it is spread over all."""
    uplinks = {pop: f"e{pop}-t{pop}" for pop in ("LHR", "ARN", "FCO")}
    with serving_live(places.find(None)) as link, events(link) as told:
        until(told, "view", lambda view: view["phase"] == "up" and view["lab"]["ready"])

        def carried(*pops: str) -> Callable[[Any], bool]:
            """Whether these uplinks carry 300 kbit/s and more, and the others less than 200."""
            return lambda now: all(
                now.get(name, 0) > 3e5 if pop in pops else now.get(name, 0) < 2e5
                for pop, name in uplinks.items()
            )

        until(told, "traffic", carried())
        act(link, "target.flood", target="LHR-s1", rate="3 Mbit")
        until(told, "traffic", carried("LHR"))
        act(link, "link.set", link="eLHR-tLHR", rate="1 Mbit")
        until(told, "trips", lambda trips: trips and rtt_ms(trips, "LHR-c1") == 0)  # lost
        act(link, "target.spare", target="LHR-s1")
        act(link, "link.set", link="eLHR-tLHR", rate="none")
        until(told, "traffic", carried())
        act(link, "target.flood", target="198.51.100.1", rate="3 Mbit")
        until(told, "traffic", carried(*uplinks))
        assert ask(link, "undo", {"number": 5}).status == 200
        until(told, "traffic", carried())


def test_a_real_lab_is_seen_and_changed(lab: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with serving_live(places.find(None)) as link, events(link) as told:
        view = until(told, "view", lambda view: view["phase"] == "up" and view["lab"]["ready"])
        assert view["lab"]["cities"]["LHR"] == "LHR"
        held = [x for at in view["lab"]["addresses"] for x in at["sets"] if x["state"] == "lent"]
        assert {x["server"] for x in held} >= {"LHR-s1", "ARN-s1", "FCO-s1"}

        trips = until(told, "trips", bool)
        assert {trip["client"] for trip in trips} >= {"LHR-c1", "ARN-c1", "FCO-c1"}
        for trip in trips:
            assert trip["rtt_ms"] == pytest.approx(trip["model_ms"], abs=20)
            assert trip["best_ms"] == trip["model_ms"]

        act(link, "server.kill", server="LHR-s1")
        until(told, "view", lambda view: states(view)["LHR-s1"] == "killed")
        assert ask(link, "undo", {"number": 1}).status == 200
        until(told, "view", lambda view: states(view)["LHR-s1"] == "serving")

        act(link, "link.set", link="FCO-LHR", delay="70 ms", loss="0 %")
        act(link, "pop.withdraw", pop="LHR")
        until(told, "trips", lambda trips: rtt_ms(trips, "LHR-c1") > 140)
        assert ask(link, "undo", {"number": 3}).status == 200
        assert ask(link, "undo", {"number": 2}).status == 200
        act(link, "pop.withdraw", pop="LHR")
        until(told, "view", lambda view: view["lab"]["cities"]["LHR"] == "FCO")
        asking.until(lambda: asking.served(tmp_path)[-1] == "pop=FCO")
        packet = {"host": "LHR-c1", "destination": "198.51.100.1", "protocol": "tcp", "port": 80}
        way = ask(link, "way", packet).data
        assert way["links"] == {"there": ["FCO-LHR"], "back": ["FCO-LHR"]}
        act(link, "link.cut", link="FCO-LHR")
        until(
            told,
            "view",
            lambda view: (
                {"link": "FCO-LHR", "state": "cut"}.items()
                <= next(x for x in view["lab"]["links"] if x["link"] == "FCO-LHR").items()
            ),
        )
        for number in (5, 4):
            assert ask(link, "undo", {"number": number}).status == 200
        until(told, "view", lambda view: view["lab"]["cities"]["LHR"] == "LHR")
        asking.until(lambda: asking.served(tmp_path)[-1] == "pop=LHR")

        (lease,) = (x["lease"] for x in held if x["server"] == "LHR-s1")
        act(link, "lease.revoke", lease=lease)
        until(told, "view", lambda view: "quarantined" in json.dumps(view["lab"]["addresses"]))
        os.kill(lab.pid, signal.SIGKILL)
        lab.wait()
        until(told, "view", lambda view: view["phase"] == "ended")
