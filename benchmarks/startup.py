"""Build + start, and stop, against stock Mininet on the same graph in the same run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.row import Row, faster
from topologies.emulation import sandbox

REPEATS = 3
GRAPHS = ("single-200", "tree-196", "linear-100", "europe")


def measure(who: str, graph: str, folder: Path) -> dict[str, float]:
    """One build in a fresh sandbox: seconds of start and stop."""
    lines: list[str] = []
    command = [sys.executable, "-m", "benchmarks.startup_inside", who, graph]
    log = folder / f"startup-{who}-{graph}.log"
    code = sandbox.run(command, stdout_line=lines.append, log=log)
    if code != 0:
        raise RuntimeError(f"{who} {graph} ended with code {code}: see {log}")
    return dict(json.loads(lines[-1]))


def rows(folder: Path) -> Iterator[Row]:
    """Ours and stock Mininet in turn, medians of three."""
    for graph in GRAPHS:
        pairs = [
            (measure("ours", graph, folder), measure("stock", graph, folder))
            for _ in range(REPEATS)
        ]
        for phase, times in (("start", 5.0), ("stop", 10.0)):
            own = [ours[f"{phase}_s"] for ours, _ in pairs]
            peer = [stock[f"{phase}_s"] for _, stock in pairs]
            yield faster(f"{phase} {graph}", own, peer, times)
