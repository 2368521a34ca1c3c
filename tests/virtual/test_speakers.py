"""Two oracles for each other: the policy bgp, and real BGP speakers in a guest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from topologies.emulation import speakers
from topologies.emulation.sandbox.files import PROJECT
from topologies.emulation.sandbox.guest import Guest

pytestmark = [
    pytest.mark.virtual,
    pytest.mark.timeout(500),
    pytest.mark.skipif(speakers.problem() is not None, reason=str(speakers.problem())),
]

PROGRAM = """
import sys
sys.path.insert(0, ".")
from tests.virtual import agree
getattr(agree, sys.argv[1])(*map(int, sys.argv[2:]))
"""


def compared(folder: Path, *words: object) -> list[list[str]]:
    """For each thing that was compared, what differs."""
    for name in ("tests", "benchmarks"):  # of the project a guest sees what a lab needs
        shutil.copytree(PROJECT / name, folder / name)
    found: list[list[str]] = []

    def told(line: str) -> None:
        found.append(json.loads(line)["differ"])

    box = Guest()
    code = box.run(
        [box.python, "-c", PROGRAM, *map(str, words)], folder, told=told, log="agree.log"
    )
    assert code == 0, (folder / "agree.log").read_text()[-4000:]
    return found


@pytest.mark.slow
def test_policy_and_speakers_choose_the_same_whatever_happens(tmp_path: Path) -> None:
    """Random networks, relations, prependings, scopes, withdrawals, and links that break and heal.

    Where they differ, one of them is wrong.
    """
    found = compared(tmp_path, "main", 1, 8, 27)
    assert len(found) >= 200
    assert [text for differ in found for text in differ] == []


@pytest.mark.slow
def test_three_oracles_agree_on_a_small_internet(tmp_path: Path) -> None:
    """Forty networks, four sites: by the policy, by the policy on arrays, and as is spoken."""
    assert compared(tmp_path, "three", 1, 40, 4) == [[]]


def test_a_route_leak_is_seen(tmp_path: Path) -> None:
    """The control: routers that tell everybody everything make valleys."""
    assert any(compared(tmp_path, "main", 1, 3, 2, 1))
