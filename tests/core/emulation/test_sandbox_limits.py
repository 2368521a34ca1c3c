"""What a sandbox may take, and what a host must give it, is told in words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from topologies import sources
from topologies.emulation import lab
from topologies.emulation.processes import LabError
from topologies.emulation.sandbox import NoSandboxError, SandboxError, namespaces, processes
from topologies.emulation.sandbox.processes import Process, limited
from topologies.plan import plan


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


def test_too_few_open_files_are_told_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    triangle = plan(sources.load("triangle"))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(lab.resource, "getrlimit", lambda _: (20, 20))
    monkeypatch.setattr(lab.resource, "setrlimit", refuse)
    with pytest.raises(LabError, match=r"needs 384 open files and may have 20: .*`ulimit -n 384`"):
        lab.raise_file_limit(triangle)


@pytest.mark.skipif(os.geteuid() != 0, reason="without root it is refused before")
def test_a_host_without_tun_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(namespaces, "TUN", tmp_path / "tun")
    with pytest.raises(NoSandboxError, match="modprobe tun"):
        namespaces.Namespaces().check()
