"""A sandbox that takes too long, or falls silent, is ended, and it is said which."""

from __future__ import annotations

import subprocess

import pytest

from topologies.emulation.sandbox import SandboxError, processes
from topologies.emulation.sandbox.processes import Process, limited


def shell(script: str) -> Process:
    return subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOOK_S", 0.02)


def listened(process: Process, limit_s: float, silence_s: float) -> list[str]:
    lines: list[str] = []
    try:
        with limited(process, limit_s, silence_s) as limits:
            limits.listen(lambda line: lines.append(line) or line == "last")  # type: ignore[func-returns-value]
    finally:
        processes.end(process)
    return lines


def test_what_is_in_time_is_heard() -> None:
    assert listened(shell("echo one; echo two"), 60, 60) == ["one", "two"]
    assert listened(shell("echo one; echo last; echo two; exec sleep 60"), 60, 60) == [
        "one",
        "last",
    ]


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(SandboxError, match=r"not done after 0.3 s"):
        listened(shell("while echo beat; do sleep 0.05; done"), 0.3, 60)


@pytest.mark.parametrize("script", ["echo one; exec sleep 60", "echo one; kill -STOP $$"])
def test_what_falls_silent_is_ended(script: str) -> None:
    with pytest.raises(SandboxError, match=r"no sign of life for 0.2 s"):
        listened(shell(script), 60, 0.2)
