"""A newcomer's whole trip: from one command to a study of what was done by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.control import places
from experiments.control.client import Remote
from tests.fakes import trip
from tests.fakes.asking import POPLAB

pytestmark = pytest.mark.net


@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium")
def test_what_a_newcomer_does_by_hand_is_run_again_as_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = []

    def seen(_sentence: str) -> None:
        world = Remote(places.find(None)).call("world")
        found.append({city: world["ranking"][city][0] for city in trip.MOVED})

    with trip.opened() as page:
        file = trip.newcomer(page, tmp_path, seen)
        said = page.locator("#way").inner_text()
    at_home = dict.fromkeys(trip.MOVED, "FCO")
    assert found == [at_home, at_home, trip.MOVED, trip.MOVED, at_home]
    assert said == ""  # it was cleared

    command = [POPLAB, "run", "latency", "--network", "europe", "--quick", "--json"]
    command += ["--scenario", str(file), "--results", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    run = Path(json.loads(ran.stdout)["run"])
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    words = [(x["word"], x["params"]) for x in log if x["event"] == "Command"]
    assert words[0] == ("link.cut", {"link": trip.CUT})
