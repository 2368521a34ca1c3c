"""Sweeps of real labs: the same rows wherever and however they were made, a killed worker's too."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from experiments import load, run
from experiments.runs import repeat
from experiments.sweeps import rows, sweep
from experiments.sweeps.design import Turn
from experiments.sweeps.fleet import Outcome
from topologies.emulation.processes import until

pytestmark = [pytest.mark.virtual, pytest.mark.timeout(300)]


@pytest.mark.slow
def test_a_sweep_has_the_runs_that_were_made_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))  # of the workers
    folder = sweep.prepare(
        "latency", ["pops=1,2"], repeat=2, results=tmp_path, quick=True, clock="virtual"
    )
    with sweep.cluster(folder, None, 2) as client:

        def over(_turn: Turn, _outcome: Outcome) -> None:
            """The first trial is over: kill a worker, most likely in the midst of another."""
            if not killed:  # later the scheduler may not know yet that it is dead
                pids = client.run(os.getpid)  # type: ignore[no-untyped-call]
                killed.append(next(iter(pids.values())))
                os.kill(killed[0], signal.SIGKILL)

        killed: list[int] = []
        sweep.carry_on(folder, client, over)
    assert killed
    until(lambda: not list(scratch.glob("poplab-sweep-*")), "the killed worker's folder to go", 10)
    assert folder.left() == []
    sweep.conclude(folder)
    found = rows.trials(folder)
    assert set(found["verdict"]) == {"valid"}
    assert found.groupby("trial").size().nunique() == 1
    for turn in folder.sweep.turns:
        if turn.seed == 1:
            pops = str(turn.arm["pops"])
            alone = run(
                "latency", "triangle", pops=pops, quick=True, clock="virtual", results=tmp_path
            )
            assert repeat.compare(folder.run(turn), alone.run).equal
    assert (folder.path / "sweep.png").exists()
    assert load(folder.run(folder.sweep.turns[0])).samples["rtt_ms"].notna().any()
