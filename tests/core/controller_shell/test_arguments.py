"""The controller's command line: what it refuses before it starts anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "somewhere"])
def test_beyond_loopback_it_wants_a_token(host: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller", "x.json", "--db", str(tmp_path / "db")]
    command += ["--rest", f"{host}:8080"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 2
    assert f"--rest {host}: whoever reaches this could take every lease away" in ran.stderr


def test_a_lease_lasts_a_second_at_least(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller", "x.json", "--db", str(tmp_path / "db")]
    command += ["--lease-time", "0.5"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 2
    assert "0.5 s is too short: DHCP counts whole seconds" in ran.stderr
