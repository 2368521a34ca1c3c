"""A program that dies or falls asleep ends the run at once, and is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from experiments.errors import TrialError
from experiments.runs import runfolder, runner

pytestmark = pytest.mark.virtual

MUTANT = Path(__file__).parent / "mutant.py"


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        ("controller killed", "controller ended with code -9; its log ends:"),
        ("controller stopped", "controller was stopped by a signal"),
        ("agent killed", "agent ended with code -9"),
        ("endpoints stopped", "endpoints was stopped by a signal"),
        ("vswitchd killed", "tLHR-ovs-vswitchd ended with code -9"),
        ("ovsdb stopped", "tLHR-ovsdb-server was stopped by a signal"),
    ],
)
def test_a_program_that_falls_is_named_within_seconds(
    mutation: str, words: str, tmp_path: Path
) -> None:
    spec = runner.make_spec("borrowing", "triangle", quick=True, clock="virtual")
    shutil.copy(MUTANT, tmp_path)
    with pytest.raises(TrialError) as raised:
        runner.run_trial(spec, tmp_path, program=(MUTANT.name, mutation))
    assert str(raised.value).startswith(words)
    events = runfolder.read_lines(tmp_path / "events.jsonl")
    phases = [event["at_ms"] for event in events if event["event"] == "phase"]
    (told,) = (event["at_ms"] for event in events if event["event"] == "fell")
    assert told - phases[-1] <= 3000  # from the moment that the lab was up
    assert (tmp_path / "logs" / "controller.log").exists()
