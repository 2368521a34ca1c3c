"""The session fails when no test of a real lab ran: a green run of nothing is the worst result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Root or not must not matter to this test, so its suite says that it is root.
SUITE = """
import os
import pytest

os.geteuid = lambda: 0

def test_core(): pass

@pytest.mark.net
{skip}
def test_lab(): assert {outcome}
"""


def session(folder: Path, *arguments: str, skip: str = "", outcome: bool = True) -> int:
    """Run a suite of one core test and one lab test; return pytest's exit code."""
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = net: a real lab\n")
    (folder / "test_it.py").write_text(SUITE.format(skip=skip, outcome=outcome))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("arguments", "skip", "outcome", "code"),
    [
        (["--require-net"], "", True, 0),
        (["--require-net"], "", False, 1),
        (["--require-net"], "@pytest.mark.skip", True, 1),
        (["--require-net", "-m", "not net"], "", True, 1),
        ([], "@pytest.mark.skip", True, 0),
    ],
)
def test_required_lab_tests(
    tmp_path: Path, arguments: list[str], skip: str, outcome: bool, code: int
) -> None:
    assert session(tmp_path, *arguments, skip=skip, outcome=outcome) == code
