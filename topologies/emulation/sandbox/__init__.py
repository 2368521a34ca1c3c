"""A private world for one lab, in one of two kinds behind one protocol.

``namespaces`` is the host's own kernel: time passes as on the wall, and it needs root. ``guest`` is
a kernel of its own in virtual time: exact, repeatable to the byte, and open to every user. What
runs inside is the same, and is not told which it is in. A program that builds no lab runs ``bare``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any, Protocol

from topologies.emulation.options import Clock, LabOptions

__all__ = ["LIMIT_S", "NoSandboxError", "Sandbox", "SandboxError", "Told", "sandbox"]

LIMIT_S = 1800.0
"""Seconds on the wall after which a program that does not end is ended."""

Told = Callable[[str], bool | None]
"""Gets each line that the program prints; True says that it was the last that matters."""


class SandboxError(Exception):
    """The sandbox cannot be made, or had to be ended; the message says why and what mends it."""


class NoSandboxError(SandboxError):
    """No sandbox of this kind can be started here; nothing was begun."""


class Sandbox(Protocol):
    """Where a lab's first program runs. Nothing outlives the command that started it."""

    clock: Clock
    python: str
    """The interpreter, as a program inside must call it."""

    def check(self, folder: Path | None = None) -> None:
        """Raise NoSandboxError if no such sandbox can be started here, or not in this folder."""

    def facts(self) -> Mapping[str, Any]:
        """What the results depend on: clock and kernel among others, for the manifest."""

    def run(
        self,
        argv: Sequence[str],
        folder: Path,
        *,
        told: Told,
        log: str = "sandbox.log",
        env: Mapping[str, str] | None = None,
        files: Sequence[int] = (),
        limit_s: float = LIMIT_S,
        silence_s: float = inf,
        ticked: Callable[[float], None] = lambda _seconds: None,
    ) -> int:
        """Run ``argv`` in a fresh sandbox, with ``folder`` as its working folder; its exit code.

        It keeps what it writes to ``folder`` alone. ``told`` gets its standard output, line by
        line; after the line for which it returns True the sandbox is ended at once, and the code
        is 0. Standard error goes to ``folder/log``. ``env`` is added to the environment;
        ``files`` are open files that the program inherits under their numbers (in real time).
        ``ticked`` is told the sandbox's own time in seconds now and then, if that differs from
        the wall's. Whatever ends the call early (an exception, Ctrl-C) ends the sandbox first.

        Raises NoSandboxError as ``check``, SandboxError if it is not done after ``limit_s``, if it
        says nothing for ``silence_s`` (in real time), or if its time stands still (in virtual).
        """


def sandbox(options: LabOptions, seed: int = 0) -> Sandbox:
    """The sandbox that a lab wants; ``seed`` feeds the randomness of one whose time is virtual."""
    from topologies.emulation.sandbox.bare import Bare
    from topologies.emulation.sandbox.guest import Guest
    from topologies.emulation.sandbox.namespaces import Namespaces

    if options.clock == "none":
        return Bare()
    return Guest(seed, options.root) if options.clock == "virtual" else Namespaces()
