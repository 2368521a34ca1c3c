"""The process that holds a sandbox: read line by line, ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path

from topologies.emulation.processes import repeatedly
from topologies.emulation.sandbox import SandboxError, Told

Process = subprocess.Popen[str]

LOOK_S = 0.25
"""How often a sandbox's limits are looked at."""


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a sandbox at once: nothing inside needs saving, and ``unshare`` ignores SIGTERM.

    Its group goes with it: a helper that a guest's kernel was making when it died has not yet said
    that it wants to die too.
    """
    with suppress(ProcessLookupError):  # on a terminal it is in our own group
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Limits:
    """How long a sandbox may take, and be silent. ``cause`` says which of them ended it."""

    def __init__(self, process: Process, limit_s: float, silence_s: float) -> None:
        self.cause = ""
        self._process = process
        self._limit_s, self._silence_s = limit_s, silence_s
        self._began = self._heard = time.monotonic()

    def listen(self, told: Told) -> bool:
        """Hand on each line until the program ends; True if one was said to be the last."""
        assert self._process.stdout is not None
        return any(self._tell(told, line) for line in self._process.stdout)

    def _tell(self, told: Told, line: str) -> bool:
        self._heard = time.monotonic()
        return bool(told(line.rstrip("\r\n")))

    def look(self) -> bool:
        """End the process if a limit is passed; whether to look again."""
        now = time.monotonic()
        if now - self._began > self._limit_s:
            self.cause = f"The sandbox was not done after {self._limit_s:g} s and was ended."
        elif now - self._heard > self._silence_s:
            self.cause = (
                f"The program in the sandbox gave no sign of life for {self._silence_s:g} s, "
                "as if it hung or was stopped, and was ended."
            )
        if self.cause:
            self._process.kill()
        return not self.cause


@contextmanager
def limited(process: Process, limit_s: float, silence_s: float = inf) -> Iterator[Limits]:
    """Within the block, end the process when a limit is passed; SandboxError after it."""
    limits = Limits(process, limit_s, silence_s)
    with repeatedly(limits.look, LOOK_S):
        yield limits
    if limits.cause:
        raise SandboxError(limits.cause)


DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it is killed when the process that started it dies, however violently."""


def attend(
    command: Sequence[str],
    folder: Path,
    *,
    told: Told,
    log: str,
    env: Mapping[str, str] | None,
    files: Sequence[int],
    limit_s: float,
    silence_s: float,
) -> int:
    """Run a command on this host until it ends or has said enough; see ``sandbox.Sandbox.run``."""
    with (folder / log).open("ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONSAFEPATH": "1", **(env or {})},
            text=True,
            pass_fds=files,
            start_new_session=True,  # Ctrl-C reaches us alone; we decide what dies, and when
        )
    try:
        with limited(process, limit_s, silence_s) as limits:
            enough = limits.listen(told)
            return 0 if enough else process.wait()
    finally:
        end(process)
