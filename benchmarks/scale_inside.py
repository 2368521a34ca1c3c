"""One lab inside a sandbox: what it costs and how true it is, as JSON.

``python -m benchmarks.scale_inside NODES``
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from benchmarks import graphs
from experiments.runs.testbed import Testbed
from experiments.verdict import calibrate
from experiments.verdict.oracle import Oracle

FOLDER = Path("/run/bench")


def available_mb() -> float:
    """The host's memory that programs could still have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (free,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return int(free) / 1024


def main() -> None:
    """Start, compensate, ping over other paths."""
    network = graphs.lattice(int(sys.argv[1]))
    before = available_mb()
    began = time.perf_counter()
    with Testbed(network, folder=FOLDER) as lab:
        started = time.perf_counter()
        memory = before - available_mb()
        oracle = Oracle(lab.plan)
        calibrate.compensate(lab, oracle, seed=1)
        left = calibrate.measure(oracle, calibrate.choose(oracle, seed=1)[1], seed=1)
        errors = [error for path in left for error in path.errors_us]
    found = {
        "start_s": started - began,
        "memory_mb": memory,
        "error_us": statistics.median(errors) if errors else float("nan"),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
