"""What docs/new-study.md tells a stranger to type gives a valid run with its page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from topologies.emulation.sandbox.files import PACKAGES, PROJECT

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(300)]


def test_a_new_study_runs_as_it_is(tmp_path: Path) -> None:
    for part in (*PACKAGES, "pyproject.toml"):
        source = PROJECT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / part)

    def poplab(*words: str) -> str:
        program = "from experiments.cli import app; app()"
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert "opening.py" in poplab("new-study", "opening")
    told = json.loads(poplab("run", "opening", "--quick", "--clock", "virtual", "--json"))
    assert told["valid"], told["checks"]
    assert told["metrics"]["anycast_rtt_p50"]["value"] == pytest.approx(2.5, abs=0.1)
    assert (Path(told["run"]) / "report.html").stat().st_size > 100_000
