"""Runs a module of ours in a fresh sandbox and takes the JSON that it prints."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from topologies.emulation.sandbox.namespaces import Namespaces

PROJECT = {"PYTHONPATH": str(Path(__file__).parent.parent)}


def run(folder: Path, log: str, module: str, *arguments: str) -> dict[str, float]:
    """The last line that the module printed, and ``gone_s``: from then until all was gone.

    Raises RuntimeError, naming the log in ``folder``, if it ended with another code than 0.
    """
    lines: list[str] = []
    told = 0.0

    def watch(line: str) -> None:
        nonlocal told
        told = time.perf_counter()
        lines.append(line)

    command = [sys.executable, "-m", module, *arguments]
    code = Namespaces().run(command, folder, told=watch, log=log, env=PROJECT)
    gone = time.perf_counter()
    if code != 0:
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with {code}: see {folder / log}")
    return {**json.loads(lines[-1]), "gone_s": gone - told}
