"""Running labs from another terminal, by the commands that people type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments.control import places
from tests.fakes.asking import POPLAB, served, until

pytestmark = pytest.mark.net


def poplab(*words: str, code: int = 0) -> str:
    """A command's words; of an error, if another ``code`` is expected."""
    done = subprocess.run([POPLAB, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_a_lab_is_steered_from_another_terminal(
    lab: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    (name, found), *others = json.loads(poplab("ps", "--json")).items()
    assert (name, found["network"], found["ready"], others) == ("triangle", "triangle", True, [])
    assert "triangle" in poplab("ps")

    poplab("pop", "withdraw", "LHR")
    until(lambda: served(tmp_path)[-1] == "pop=FCO")
    assert "withdrawn" in poplab("status")
    poplab("city", "steer", "LHR", "ARN")
    until(lambda: served(tmp_path)[-1] == "pop=ARN")
    poplab("link", "cut", "LHR-ARN")
    until(lambda: len(served(tmp_path)) and json.loads(poplab("status", "--json"))["world"]["down"])
    before = len(served(tmp_path))
    until(lambda: len(served(tmp_path)) > before + 2)  # by way of FCO
    poplab("link", "restore", "LHR-ARN")
    poplab("city", "release", "LHR")
    poplab("pop", "announce", "LHR")
    until(lambda: served(tmp_path)[-1] == "pop=LHR")
    assert "no carrier" not in poplab("status")

    poplab("link", "set", "LHR-c1-tLHR", "--delay", "20 ms", "--loss", "0.5 %")
    (shown,) = (x for x in json.loads(poplab("links", "--json")) if x["link"] == "LHR-c1-tLHR")
    assert (shown["ways"][0]["delay_ns"], shown["ways"][1]["loss"]) == (20_000_000, 0.005)
    poplab("note", "half time")

    (lease,) = (x for x in json.loads(poplab("lease", "ls", "--json")) if x["server"] == "LHR-s1")
    name = f"{lease['address']}:{lease['first_port']}"
    revoked_s = time.monotonic()
    poplab("lease", "revoke", name)
    assert "quarantined" in poplab("lease", "ls")
    assert "was nobody's" in poplab("lease", "who", name, code=1)
    ago_s = time.monotonic() - revoked_s + 0.2  # it had it until then
    before = poplab("lease", "who", name, "--ago", f"{ago_s:.3f} s")
    assert f"LHR-s1 in LHR: {lease['address']} ports" in before
    assert "3 of 256" in poplab("lease", "pool")
    assert "book, store and switches agree" in poplab("lease", "audit")

    said = poplab("events")
    for words in ("PoP LHR is withdrawn", "LHR goes to ARN", "link cut LHR-ARN", "half time"):
        assert words in said
    assert "no PoP CDG" in poplab("pop", "drain", "CDG", code=1)
    assert "has no link" in poplab("link", "cut", "LHR-CDG", code=1)

    poplab("program", "kill", "controller")
    assert "the controller does not answer" in poplab("ps", "--json")
    assert "controller does not answer" in poplab("status", code=1)
    before = len(served(tmp_path))
    until(lambda: len(served(tmp_path)) > before + 2)  # switches go on by themselves
    poplab("program", "restart", "controller")
    until(lambda: json.loads(poplab("ps", "--json"))["triangle"]["ready"])
    assert "half time" in poplab("events")  # the log outlives the controller
    assert lab.poll() is None


def test_a_lab_that_is_killed_leaves_nothing(lab: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert len(list(tmp_path.glob("poplab-*"))) == 1
    (path,) = places.labs().values()
    with subprocess.Popen([POPLAB, "events", "-f"], stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        assert b"controller leads" in follower.stdout.readline()
        os.kill(lab.pid, signal.SIGKILL)
        lab.wait()
        follower.stdout.read()
        assert follower.wait(15) in (0, 1)
    until(lambda: not places.labs())
    assert not path.exists()
    until(lambda: not list(tmp_path.glob("poplab-*")))
    assert "No lab is running" in poplab("status", code=2)


def test_a_run_can_be_watched_and_disturbed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    words = ["run", "latency", "--clock", "real", "--results", str(tmp_path), "--json"]
    with subprocess.Popen([POPLAB, *words], stdout=subprocess.PIPE) as run:
        until(lambda: "triangle-latency" in places.labs())
        until(lambda: json.loads(poplab("ps", "--json"))["triangle-latency"].get("ready"))
        poplab("pop", "withdraw", "LHR")
        assert json.loads(poplab("ps", "--json"))["triangle-latency"]["purpose"] == "latency"
        poplab("link", "blackhole", "LHR-c1-tLHR")
        # Clients that had landed by then are only slower, as on a busy machine; but one is silent.
        assert run.wait(90) == 1
    assert places.labs() == {}
    (events,) = tmp_path.glob("latency/*/events.csv")
    assert "PoP LHR is withdrawn" in events.read_text()
