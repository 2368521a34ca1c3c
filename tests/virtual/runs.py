"""Runs in virtual time for tests: made when they are asked for, and once for all workers."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.clocks import busy_machine
from experiments import load, run
from experiments.study import study as study_of
from experiments.verdict.result import Result
from tests.fakes.routed import four_networks
from topologies.emulation.sandbox import root
from topologies.emulation.sandbox.files import PROJECT
from topologies.model import Network, Upstream

EXACT_US = 5.0
"""How far any RTT may be from the model."""

ROOT = "host" if root.find() is None else "hermetic"
"""The hermetic one, if it has been made: it shows what a trial needs that guests do not have."""


def network_of(study: str) -> Network | str:
    """The network on which a study is tested: the triangle, or one in which BGP has choices."""
    return four_networks() if Upstream.BGP is study_of(study).upstreams[0] else "triangle"


def virtual_run(study: str, results: Path, **options: object) -> Result:
    """A quick run on the network of its tests."""
    asked = {"quick": True, "clock": "virtual", "root": ROOT} | options
    return run(study, network_of(study), results=results, **asked)  # type: ignore[arg-type]


@contextmanager
def disturbed() -> Iterator[None]:
    """A host with every processor busy, and a checkout in which something has been left."""
    with busy_machine(), tempfile.TemporaryDirectory(dir=PROJECT, prefix=".litter-"):
        yield


class Runs:
    """A run of each study on a host as it is, in a folder that several processes may share."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._made: dict[str, Result] = {}

    def __getitem__(self, study: str) -> Result:
        if study not in self._made:
            self._made[study] = self._made_by_anybody(study)
        return self._made[study]

    def _made_by_anybody(self, study: str) -> Result:
        """The run that another process has made, or is making; if none has, one is made here."""
        self._results.mkdir(exist_ok=True)
        with (self._results / f"{study}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = [x for x in (self._results / study).glob("*") if not x.name.startswith(".")]
            run = made[0] if made else virtual_run(study, self._results).run
            return load(run).result
