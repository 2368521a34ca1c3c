"""The live view of a real lab: what is done on it is done to packets, and is seen on it again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.control import places
from tests.fakes.live import Link, ask, events, serving_live, until

pytestmark = pytest.mark.net

POPLAB = str(Path(sys.executable).with_name("poplab"))


def answering(folder: Path) -> list[str]:
    """Which PoP answered, time after time."""
    lines = (folder / "said").read_text().splitlines()
    return [line.removeprefix("pop=") for line in lines if line.startswith("pop=")]


def wait(holds: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``triangle``, up, with a client that asks for the service all the time."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    asks = "while sleep 0.2; do curl -s -m 1 http://198.51.100.1/trace | grep ^pop; done"
    command = [POPLAB, "up", "triangle", "--", "LHR-c1", "sh", "-c", asks]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    try:
        wait(lambda: "LHR" in answering(tmp_path))
        yield process
    finally:
        process.kill()
        process.wait()


def act(page: Link, word: str, **params: str) -> None:
    done = ask(page, "act", {"word": word, "params": params})
    assert done.status == 200, done.text


def test_a_real_lab_is_seen_and_changed(lab: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with serving_live(places.find(None)) as link, events(link) as told:
        view = until(told, "view", lambda view: view["phase"] == "up" and view["lab"]["ready"])
        assert view["lab"]["cities"]["LHR"] == "LHR"
        held = [x for at in view["lab"]["addresses"] for x in at["sets"] if x["state"] == "lent"]
        assert {x["server"] for x in held} >= {"LHR-s1", "ARN-s1", "FCO-s1"}

        act(link, "pop.withdraw", pop="LHR")
        until(told, "view", lambda view: view["lab"]["cities"]["LHR"] == "FCO")
        wait(lambda: answering(tmp_path)[-1] == "FCO")
        act(link, "link.cut", link="FCO-LHR")
        until(
            told,
            "view",
            lambda view: (
                {"link": "FCO-LHR", "state": "cut"}.items()
                <= next(x for x in view["lab"]["links"] if x["link"] == "FCO-LHR").items()
            ),
        )
        for number in (2, 1):
            assert ask(link, "undo", {"number": number}).status == 200
        until(told, "view", lambda view: view["lab"]["cities"]["LHR"] == "LHR")
        wait(lambda: answering(tmp_path)[-1] == "LHR")

        (lease,) = (x["lease"] for x in held if x["server"] == "LHR-s1")
        act(link, "lease.revoke", lease=lease)
        until(told, "view", lambda view: "quarantined" in json.dumps(view["lab"]["addresses"]))
        os.kill(lab.pid, signal.SIGKILL)
        lab.wait()
        until(told, "view", lambda view: view["phase"] == "ended")
