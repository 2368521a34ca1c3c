"""Lending by hand on real switches: every verb with traffic, and crashes at any moment."""

from __future__ import annotations

import itertools
import random
import subprocess
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import TrialError
from experiments.runs.testbed import Testbed
from topologies.emulation import anyip
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]


TURNS = itertools.count()


def name(lease: dict[str, Any]) -> str:
    return f"{lease['address']}:{lease['first_port']}"


def fetch(lab: Testbed, server: str, lease: dict[str, Any]) -> bool:
    """Whether a server reaches an origin from a port of a lease, by an ordinary curl."""
    origin = lab.plan.hosts_of(HostRole.ORIGIN)[0].address
    port = lease["first_port"] + next(TURNS)  # no two connections by the same four numbers
    given = ["--interface", lease["address"], "--local-port", str(port)]
    command = ["curl", "-s", "-m", "1", *given, f"http://{origin}/trace"]
    got = subprocess.run(
        ["ip", "netns", "exec", server, *command], capture_output=True, check=False
    )
    return got.returncode == 0 and f"client={lease['address']}\n".encode() in got.stdout


def test_a_set_is_lent_moved_abroad_and_home_drained_and_taken_away(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        control = lab.control
        lease = control.lease_acquire("LHR-s1", client_id="by hand", psid_bits=6)
        assert (lease["pop"], lease["home"], lease["confirmed"]) == ("LHR", "LHR", True)
        assert lease["last_port"] - lease["first_port"] == 1023
        again = control.lease_acquire("LHR-s1", client_id="by hand")
        assert (again["number"], name(again)) == (lease["number"], name(lease))
        for server in ("LHR-s1", "FCO-s1", "ARN-s1"):
            anyip.accept(server, IPv4Address(lease["address"]))
        assert fetch(lab, "LHR-s1", lease)
        assert not fetch(lab, "FCO-s1", lease)

        # Abroad: replies land anywhere, and find it. And on to a third PoP.
        travelled = 0
        for heir, before in (("FCO-s1", "LHR-s1"), ("ARN-s1", "FCO-s1")):
            moved = control.lease_move(name(lease), heir)
            assert (moved["server"], moved["home"]) == (heir, "LHR")
            assert fetch(lab, heir, lease)
            assert not fetch(lab, before, lease)
            counters = lab.controller_api.counters().values()
            travelled += sum(x["abroad"]["packets"] for x in counters if "abroad" in x)
        assert travelled > 0
        assert lab.controller_api.audit()["agrees"]

        # Drained for an heir, who has it when the time is up.
        control.lease_move(name(lease), "LHR-s1", "1 s")
        assert fetch(lab, "ARN-s1", lease)
        lab.wait(lambda: fetch(lab, "LHR-s1", lease), "the heir to have it")
        assert not fetch(lab, "ARN-s1", lease)

        with pytest.raises(TrialError, match="not held by ARN-s1"):
            control.lease_release(name(lease), "ARN-s1")
        control.lease_renew(name(lease))
        held = control.who(name(lease))
        assert (held["server"], held["ended_ns"]) == ("LHR-s1", None)
        control.lease_release(name(lease), "LHR-s1")
        assert not fetch(lab, "LHR-s1", lease)
        with pytest.raises(TrialError, match="was nobody's"):
            control.who(name(lease))
        ended = control.who(name(lease), at_ns=held["since_ns"])
        assert ended == held | {"ended_ns": ended["ended_ns"]}
        assert ended["ended_ns"] > held["since_ns"]


def test_an_audit_finds_a_stranger_and_what_is_taken_away_unseen(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        assert lab.control.audit()["agrees"]
        ofctl = ["ovs-ofctl", "-O", "OpenFlow13"]
        where = "unix:/run/openvswitch/eLHR.mgmt"
        flow = "table=0,priority=600,ip,nw_src=203.0.113.0/24"
        stranger = f"cookie=0x77,{flow},actions=resubmit(,10)"
        subprocess.run([*ofctl, "add-flow", where, stranger], check=True)
        found = lab.control.audit()
        assert not found["agrees"]
        (extra,) = found["switches"]["eLHR"]["extra"]
        assert "0x77" in extra
        subprocess.run([*ofctl, "del-flows", where, "cookie=0x77/-1"], check=True)
        assert lab.control.audit()["agrees"]


def test_whenever_the_controller_is_killed_book_store_and_switches_agree_again(
    lab_folder: Path,
) -> None:
    """What was confirmed is true afterwards; nothing is half done."""
    dice = random.Random(7)
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        servers = [host.name for host in lab.plan.hosts_of(HostRole.SERVER)]
        for turn in range(8):
            said: dict[str, dict[str, Any]] = {}
            over = threading.Event()

            def churn(turn: int = turn, said: Any = said, over: Any = over) -> None:
                """Lend, move, take away, steer, without a pause, until the controller is gone."""
                api, number = lab.controller_api, 0
                with suppress(OSError, ValueError):
                    while not over.is_set():
                        number += 1
                        server = dice.choice(servers)
                        with suppress(TrialError):
                            lease = api.acquire(server, client_id=f"{turn}-{number}", psid_bits=8)
                            said[name(lease)] = lease
                            pop = {"event": "PopSet", "pop": "LHR"}
                            api.happen(pop | {"state": dice.choice(["drained", "announced"])})
                            heir = dice.choice(servers)
                            at = (lease["address"], lease["first_port"])
                            said.pop(name(lease))
                            said[name(lease)] = api.change_lease("move", *at, server=heir)
                            if number % 3 == 0:
                                said.pop(name(lease))
                                api.change_lease("revoke", *at)

            thread = threading.Thread(target=churn)
            thread.start()
            time.sleep(dice.uniform(0.05, 0.4))
            lab.kill("controller")
            over.set()
            thread.join()
            lab.restart("controller")
            lab.wait(lab.controller_api.is_listening, "the controller to answer")
            lab.wait(lab.controller_api.is_ready, "every switch to be programmed")
            audit = lab.controller_api.audit()
            assert audit["agrees"], audit
            now = {name(x): x for x in lab.controller_api.leases()}
            for place, lease in said.items():
                assert now[place]["server"] == lease["server"], place
                assert now[place]["number"] == lease["number"], place
            for place in said:
                with suppress(TrialError):
                    lab.control.lease_revoke(place)
