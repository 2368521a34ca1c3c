"""Whole labs, small to large: start, memory, and how true their times are; two at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import inside
from benchmarks.row import Row, at_most

NODES = (10, 100, 300, 1000, 2000)
START_S, START_S_PER_NODE = 3.0, 0.01
MEMORY_MB, MEMORY_MB_PER_NODE = 200.0, 1.5
ERROR_US = 1000.0
TWICE = 2.2


def measure(nodes: int, folder: Path, log: str = "scale") -> dict[str, float]:
    """A lab of so many switches and hosts: up, lent, pinged, gone."""
    return inside.run(folder, f"{log}-{nodes}.log", "benchmarks.scale_inside", str(nodes))


def rows(folder: Path) -> Iterator[Row]:
    """Each size once; then two of 100 nodes beside one."""
    for nodes in NODES:
        found = measure(nodes, folder)
        start, memory = found["start_s"], found["memory_mb"]
        name = f"{nodes} nodes"
        yield at_most(f"{name}: up and lent", start, "s", START_S + START_S_PER_NODE * nodes)
        yield at_most(f"{name}: memory", memory, "MB", MEMORY_MB + MEMORY_MB_PER_NODE * nodes)
        yield at_most(f"{name}: RTT error, median", abs(found["error_us"]), "us", ERROR_US)
    alone = measure(100, folder)["start_s"]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda log: measure(100, folder, log)["start_s"], ("one", "two")))
    yield at_most("two labs of 100 nodes at once: start", max(both), "s", TWICE * alone, alone)
