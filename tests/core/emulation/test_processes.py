"""Waiting for a state, and programs that die."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies.emulation.processes import LabError, Program, start, until, watched


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


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Program]:
    program = start("sleeper", ["sh", "-c", "echo good night; exec sleep 60"], tmp_path)
    until(lambda: program.log.stat().st_size > 0, "its words")
    yield program
    program.kill()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (signal.SIGKILL, "sleeper ended with code -9; its log ends:\ngood night"),
        (signal.SIGSTOP, "sleeper was stopped by a signal: it does nothing any more."),
    ],
)
def test_a_watch_names_who_fell(sleeper: Program, how: signal.Signals, said: str) -> None:
    told: list[str] = []
    with watched(lambda: [sleeper], told.append):
        sleeper.process.send_signal(how)
        until(lambda: bool(told), "the watch to tell", timeout_s=5)
    assert told == [said]


def test_who_was_let_go_before_is_not_told_of(sleeper: Program) -> None:
    told: list[str] = []
    programs = [sleeper]
    asked: list[None] = []

    def running() -> list[Program]:
        asked.append(None)
        return list(programs)

    with watched(running, told.append):
        until(lambda: bool(asked), "the watch to look", timeout_s=5)
        programs.clear()
        sleeper.kill()
        seen = len(asked)
        until(lambda: len(asked) > seen + 1, "the watch to look again", timeout_s=5)
    assert told == []
