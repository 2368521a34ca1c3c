"""Catchments on an Internet of 75,000 ASes: one configuration, ten thousand, and their memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.row import Row, at_most, faster
from topologies.internet.generate import ASES

PROJECT = Path(__file__).parents[1]
CONFIGURATION_S, TIMES = 0.020, 20
MANY, MANY_S, MANY_MB = 10_000, 300.0, 1000.0


def rows(_folder: Path) -> Iterator[Row]:
    """A process of its own computes; the peer is the same policy in plain Python."""
    found, memory_mb = measure("benchmarks.internet_inside", str(ASES), str(MANY))
    for sites, took_s in found["ours_s"].items():
        name = f"internet: catchments of {sites} sites, {ASES:,} ASes"
        yield at_most(name, min(took_s), "s", CONFIGURATION_S)
        yield faster(f"{name} (peer: AS by AS in Python)", took_s, found["peer_s"][sites], TIMES)
    name = f"internet: {MANY:,} configurations on one core"
    yield at_most(name, found["many_s"], "s", MANY_S)
    yield at_most(f"{name}: memory", memory_mb, "MB", MANY_MB)


def measure(module: str, *arguments: str) -> tuple[dict[str, object], float]:
    """What the module prints as JSON, and the most memory (MB) that its process had.

    Raises RuntimeError if it ended with another code than 0.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{module} ended with {process.returncode}.")
    return json.loads(told), used.ru_maxrss / 1000
