"""Waiting for a state, and programs that die."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from topologies.emulation.processes import LabError, start, until


def test_waiting_ends_with_the_state() -> None:
    answers = iter([False, False, True])
    until(lambda: next(answers), "the answer")


def test_waiting_in_vain_names_what_was_awaited() -> None:
    with pytest.raises(LabError, match=r"0\.01 s in vain for all leases"):
        until(lambda: False, "all leases", timeout_s=0.01)


def test_a_dead_programs_last_words_are_in_the_error(tmp_path: Path) -> None:
    words = "import sys; print('cause of death', file=sys.stderr); sys.exit(3)"
    program = start("frail", [sys.executable, "-c", words], tmp_path)
    program.process.wait()
    with pytest.raises(LabError, match=r"(?s)frail ended with code 3.*cause of death"):
        program.check()


def test_a_program_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    words = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    program = start("deaf", [sys.executable, "-c", words], tmp_path)
    until(lambda: "deaf" in program.log.read_text(), "the program to be deaf")
    program.check()
    program.stop(timeout_s=0.1)
    assert program.process.returncode == -9
