"""The programs of a lab: started with a log each, watched, stopped by pid."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


class LabError(Exception):
    """The lab is not what was asked for; the message says what was awaited and what came."""


def until(condition: Callable[[], bool], awaited: str, timeout_s: float = 15.0) -> None:
    """Poll ``condition`` until it holds; LabError naming what was awaited when time is up."""
    deadline = time.monotonic() + timeout_s
    pause = 0.001
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"Waited {timeout_s:g} s in vain for {awaited}.")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


@dataclass(frozen=True)
class Program:
    """A running program of the lab."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise LabError with the end of its log if the program has died."""
        code = self.process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise LabError(f"{self.name} ended with code {code}; its log ends:\n{tail}")

    def stop(self, timeout_s: float = 3.0) -> None:
        """Ask it to end, then insist."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once, with no chance to tidy up."""
        self.process.kill()
        self.process.wait()


def start(name: str, argv: list[str], logs: Path, env: Mapping[str, str] | None = None) -> Program:
    """Start a program whose output goes to ``logs/<name>.log`` (appended to)."""
    log = logs / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )
    return Program(name, process, log)
