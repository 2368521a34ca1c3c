"""Names that are bound at random get equal addresses in equal runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.virtual

POPLAB = str(Path(sys.executable).parent / "poplab")
NETWORK = """
name: many
cities: [LHR]
pops: [LHR]
clients: [LHR]
services: [198.51.100.0/24]
"""
ASKS = "for n in 1 2 3 4 5; do getent ahostsv4 www.poplab.test | head -n 1; done"


def _told(network: Path) -> list[str]:
    command = [POPLAB, "up", str(network), "--clock", "virtual", "--", "LHR-c1", "sh", "-c", ASKS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_equal_runs_bind_names_equally(tmp_path: Path) -> None:
    network = tmp_path / "many.yaml"
    network.write_text(NETWORK)
    told = _told(network)
    assert len(set(told)) > 3
    assert _told(network) == told
