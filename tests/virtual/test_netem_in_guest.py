"""The tests of netem and of the kernel's link discipline, on a kernel that surely has them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from topologies.emulation.sandbox.files import PROJECT

pytestmark = pytest.mark.virtual


def test_netems_own_tests_pass_in_a_guest() -> None:
    command = [sys.executable, "tests/in_guest.py", "virtual", "-q", "-m", "netem", "tests/links"]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 20
    assert "skipped" not in done.stdout
