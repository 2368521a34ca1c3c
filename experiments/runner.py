"""A run, seen from outside: spec, sandboxed trial, evaluation, run folder, result."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import host, runfolder, study
from experiments.errors import TrialError, UsageError
from experiments.oracle import Oracle
from experiments.result import Result
from experiments.spec import LINK_BACKENDS, Spec
from experiments.study import Evidence, Findings
from topologies import sources
from topologies.emulation import sandbox
from topologies.model import Network
from topologies.plan import plan

if TYPE_CHECKING:
    import pandas as pd

Watch = Callable[[Mapping[str, Any]], None]
"""Gets each progress message of the trial (see ``experiments.trial``)."""

LOG_TAIL_LINES = 15


def _unwatched(_message: Mapping[str, Any]) -> None:
    """Nobody wants to know about progress."""


def make_spec(
    study_name: str,
    network: Network | str = "triangle",
    *,
    pops: str | None = None,
    seed: int = 1,
    quick: bool = False,
    links: str = "auto",
    params: Mapping[str, float] | None = None,
) -> Spec:
    """Describe a run with every default resolved; nothing is built.

    Raises UsageError for an unknown study, parameter or link backend, NetworkError for a
    network that is unknown or has problems.
    """
    asked = study.study(study_name)
    resolved = asked.params(quick, params or {})
    if links not in LINK_BACKENDS:
        raise UsageError(f"No link backend {links!r}: use one of {', '.join(LINK_BACKENDS)}.")
    if not isinstance(network, Network):
        network = sources.load(network, pops)
    for what, present in (("client", network.clients), ("origin", network.origins)):
        if not present:
            raise UsageError(f"The network {network.name} has no {what}: a study needs one.")
    return Spec(study_name, network, seed, quick, links, resolved)


def run(
    study: str,
    network: Network | str = "triangle",
    *,
    pops: str | None = None,
    seed: int = 1,
    quick: bool = False,
    links: str = "auto",
    params: Mapping[str, float] | None = None,
    results: Path | str | None = None,
    watch: Watch = _unwatched,
) -> Result:
    """Run a study in a lab of its own and keep everything in a run folder.

    ``network`` is a ``Network`` or what ``topologies.sources.load`` takes; ``pops`` puts its
    PoPs elsewhere; ``params`` changes parameters of the study; ``results`` is where run folders
    go. Needs root. The result may be invalid: ask ``result.valid``.

    Raises as ``make_spec``, SandboxError where no lab can be made, TrialError if the trial broke
    off; nothing is left behind then.
    """
    spec = make_spec(study, network, pops=pops, seed=seed, quick=quick, links=links, params=params)
    return run_spec(spec, None if results is None else Path(results), watch)


def run_spec(spec: Spec, results: Path | None = None, watch: Watch = _unwatched) -> Result:
    """Run what a spec describes; otherwise as ``run``."""
    sandbox.check()
    with runfolder.building(spec.study, spec.network.name, runfolder.root(results)) as (tmp, final):
        spec.write(tmp / "spec.json")
        started = time.time()
        _trial(tmp, watch)
        watch({"step": "evaluation and figures", "expected_s": 0})
        return _conclude(spec, tmp, final, started)


def _trial(folder: Path, watch: Watch) -> None:
    """Run the trial in a sandbox. Raises TrialError with the cause if it gave no answer."""
    told: list[str] = []

    def line(text: str) -> None:
        message = json.loads(text)
        if "error" in message:
            told.append(str(message["error"]))
        elif "done" in message:
            _preload()
        else:
            watch(message)

    log = folder / "trial.log"
    argv = [sys.executable, "-m", "experiments.trial", str(folder / "spec.json"), str(folder)]
    code = sandbox.run(argv, stdout_line=line, log=log)
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        cause = told[-1] if told else f"The trial ended with code {code}; its log ends:\n{tail}"
        raise TrialError(cause)


def _preload() -> None:
    """Import what the evaluation needs while the lab comes down; measuring is over."""
    for library in ("pandas", "pyarrow.parquet", "experiments.figures"):
        importlib.import_module(library)


def _conclude(spec: Spec, tmp: Path, final: Path, started: float) -> Result:
    """Evaluate what the trial left in ``tmp`` and write the rest of the folder."""
    import pandas as pd

    from experiments import calibrate

    asked = study.study(spec.study)
    observed = runfolder.read_json(tmp / "observed.json")
    network_plan = plan(spec.network)
    evidence = Evidence(
        spec=spec,
        plan=network_plan,
        oracle=Oracle(network_plan),
        samples=pd.DataFrame(runfolder.read_lines(tmp / "samples.jsonl")),
        observed=observed["study"],
    )
    calibration = calibrate.parse(observed["calibration"])
    fidelity = calibrate.fidelity(observed["links"], calibration, observed["load"])
    findings = asked.evaluate(evidence)
    result = Result(
        run=final,
        study=spec.study,
        network=spec.network.name,
        seed=spec.seed,
        checks=(*findings.checks, *calibrate.checks(fidelity)),
        metrics=findings.metrics,
        fidelity=fidelity,
    )
    figures = asked.draw(evidence, findings, tmp)
    _write_frames(tmp, evidence.samples, findings)
    _gather_logs(tmp)
    runfolder.write_json(tmp / "result.json", result.contract() | {"answer": findings.answer})
    runfolder.write_json(
        tmp / "manifest.json",
        {
            "schema": runfolder.SCHEMA,
            "start": _utc(started),
            "end": _utc(time.time()),
            "duration_s": round(time.time() - started, 3),
            "seed": spec.seed,
            "links": observed["links"],
            "fidelity": result.contract()["fidelity"],
            "calibration": observed["calibration"],
            "lab": observed["lab"],
            "leases": observed["leases"],
            "controller": observed["controller"],
            "observed": observed["study"],
            "host": {"cpu": host.cpu(), "load": observed["load"]},
            "versions": host.versions(),
            "git": host.revision(),
            "figures": [figure.name for figure in figures],
        },
    )
    return result


def _write_frames(tmp: Path, samples: pd.DataFrame, findings: Findings) -> None:
    import pandas as pd

    samples.to_parquet(tmp / "samples.parquet", index=False)
    events = pd.DataFrame(
        runfolder.read_lines(tmp / "events.jsonl"), columns=["at_ms", "event", "detail"]
    )
    events.to_csv(tmp / "events.csv", index=False)
    summary = [{"metric": name, **asdict(metric)} for name, metric in findings.metrics.items()]
    pd.DataFrame(summary, dtype=object).to_csv(tmp / "summary.csv", index=False)
    for name, table in findings.tables.items():
        table.to_csv(tmp / f"{name}.csv", index=False)


def _gather_logs(tmp: Path) -> None:
    """Keep the logs in one folder, and drop what has become a table or a manifest."""
    logs = tmp / "logs"
    logs.mkdir(exist_ok=True)
    (tmp / "trial.log").rename(logs / "trial.log")
    keep = {"logs", "spec.json"}
    for path in tmp.iterdir():
        if path.name in keep or path.suffix in (".csv", ".png", ".parquet"):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _utc(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
