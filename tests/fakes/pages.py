"""A run folder's data as it would be after a perfect trial: what a page is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import study
from experiments.runs.rundata import RunData
from experiments.verdict.result import Check, Fidelity, Metric, Result
from tests.fakes.evidence import perfect

HOSTILE = "</script><script>document.title = 'had'</script><img src=x onerror=alert(1)>\"'&amp;"
"""What breaks out of a page that does not escape."""

MANIFEST: dict[str, Any] = {
    "start": "2026-01-01T00:00:00Z",
    "duration_s": 9.0,
    "sandbox": {"clock": "real"},
    "capture": None,
    "links": {"backend": "delayline"},
    "host": {"cpu": {"model": "a processor", "cores": 2}},
    "versions": {"python": "3.11.2", "kernel": "6.1.0"},
    "git": {"revision": "0123abc", "dirty": True},
}


def run_data(name: str, folder: Path, network: str = "triangle") -> RunData:
    """A study's perfect run, with its figures in ``folder``."""
    evidence = perfect(name, network)
    asked = study.study(name)
    findings = asked.evaluate(evidence)
    fidelity = Fidelity("delayline", 12.5, 80.0, 9, 20.0, 1000.0, 60, late_p99_us=90.0)
    result = Result(
        folder, name, network, evidence.spec.seed, findings.checks, findings.metrics, fidelity
    )
    return RunData(
        path=folder,
        spec=evidence.spec,
        manifest=MANIFEST,
        result=result,
        answer=findings.answer,
        samples=evidence.samples,
        summary=pd.DataFrame(),
        events=pd.DataFrame(),
        tables=findings.tables,
        figures=tuple(asked.draw(evidence, findings, folder)),
    )


def hostile(data: RunData) -> RunData:
    """The same run with markup wherever a name or a text could come from somebody else."""
    network = data.spec.network
    cities = tuple(replace(city, name=HOSTILE) for city in network.cities)
    samples = data.samples.assign(outcome="ok")
    samples["arm"] = samples["arm"].where(samples["arm"] != "best", HOSTILE)
    samples = pd.concat([samples, samples[:1].assign(outcome=HOSTILE)])
    checks = (Check(f"control: {HOSTILE}", False, HOSTILE), Check(HOSTILE, None, HOSTILE))
    metrics = {HOSTILE: Metric(1.5, HOSTILE)}
    return replace(
        data,
        spec=replace(
            data.spec,
            network=replace(network, name=HOSTILE, description=HOSTILE, cities=cities),
        ),
        manifest=data.manifest
        | {"versions": {HOSTILE: HOSTILE, "kernel": HOSTILE}, "start": HOSTILE},
        result=replace(data.result, checks=checks, metrics=metrics, network=HOSTILE),
        answer=HOSTILE,
        samples=samples,
    )
