"""Build + start, and stop, against stock Mininet on the same graph in the same run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import inside
from benchmarks.row import Row, faster

REPEATS = 3
GRAPHS = ("single-200", "tree-196", "linear-100", "europe")


def measure(who: str, graph: str, folder: Path) -> dict[str, float]:
    """One build in a fresh sandbox: seconds of start, of stop, and from then until all is gone.

    Our stop does not wait for what it killed, so what the kernel still does counts as well.
    """
    log = f"startup-{who}-{graph}.log"
    return inside.run(folder, log, "benchmarks.startup_inside", who, graph)


def rows(folder: Path) -> Iterator[Row]:
    """Ours and stock Mininet in turn, medians of three."""
    for graph in GRAPHS:
        pairs = [  # one after the other, so that both meet the same machine
            (measure("ours", graph, folder), measure("stock", graph, folder))
            for _ in range(REPEATS)
        ]
        starts = [(ours["start_s"], stock["start_s"]) for ours, stock in pairs]
        stops = [(ours["stop_s"] + ours["gone_s"], stock["stop_s"]) for ours, stock in pairs]
        yield faster(f"start {graph}", *zip(*starts, strict=True), times=5.0)
        yield faster(f"stop {graph}", *zip(*stops, strict=True), times=10.0)
