"""A sweep of quick trials: labs side by side, against one at a time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.clocks import POPLAB
from benchmarks.row import Row, at_most, faster
from experiments.runs import rundata
from experiments.sweeps import fleet, sweep
from experiments.sweeps import rows as found

TRIALS, GAIN = 40, 1.7
RUN_S, OVERHEAD = 20.0, 0.1


def rows(_folder: Path) -> Iterator[Row]:
    """Trials in virtual time, all of which must be valid; and what the framework adds to one."""
    yield from _sweep()
    with TemporaryDirectory() as results:
        command = [POPLAB, "run", "latency", "--network", "europe", "--quick", "--json"]
        command += ["--clock", "virtual", "--results", results]
        began = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        took_s = time.perf_counter() - began
        trial_s = float(rundata.head(Path(json.loads(done.stdout)["run"]))[0]["duration_s"])
    yield at_most("latency on europe, quick: from command to page", took_s, "s", RUN_S)
    yield at_most("share of it that is not the trial", 1 - trial_s / took_s, "1", OVERHEAD)


def _sweep() -> Iterator[Row]:
    labs = fleet.labs_here("virtual")
    many_s, one_s = _sweep_s(labs), _sweep_s(1)
    name = f"{TRIALS} quick trials, {labs} labs side by side"
    yield faster(name, [many_s], [one_s], GAIN)


def _sweep_s(labs: int) -> float:
    """Seconds for all of it, its workers' start too. Raises RuntimeError if a trial is invalid."""
    with TemporaryDirectory() as results:
        folder = sweep.prepare(
            "latency", [], repeat=TRIALS, results=Path(results), quick=True, clock="virtual"
        )
        began = time.perf_counter()
        with sweep.cluster(folder, None, labs) as client:
            sweep.carry_on(folder, client)
        took_s = time.perf_counter() - began
        verdicts = {v: len(turns) for v, turns in found.turns_by_verdict(folder).items()}
        if verdicts != {"valid": TRIALS}:
            raise RuntimeError(f"the sweep's trials are {verdicts}")
    return took_s
