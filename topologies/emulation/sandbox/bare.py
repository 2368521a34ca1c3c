"""No sandbox: a plain process, for a program that computes and builds no lab. Nobody needs root."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from topologies.emulation.options import Clock
from topologies.emulation.sandbox import LIMIT_S, Told
from topologies.emulation.sandbox.processes import DIES_WITH_US, attend


class Bare:
    """A process that dies with this one; see ``sandbox.Sandbox`` for the methods."""

    clock: Clock = "none"
    python = sys.executable

    def check(self, folder: Path | None = None) -> None:
        """Every host and every folder will do."""

    def facts(self) -> Mapping[str, Any]:
        """That there is no clock: the manifest has the versions of all that computes."""
        return {"clock": self.clock}

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
        """As ``sandbox.Sandbox.run``; the program sees all that this process sees."""
        del ticked  # it has no time of its own
        return attend(
            [*DIES_WITH_US, *argv],
            folder,
            told=told,
            log=log,
            env=env,
            files=files,
            limit_s=limit_s,
            silence_s=silence_s,
        )
