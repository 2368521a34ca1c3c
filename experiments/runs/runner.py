"""A run, seen from outside: spec, sandboxed trial, evaluation, run folder, result.

The trial leaves an archive that can be evaluated elsewhere: in another process, on another machine.
"""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import study
from experiments.control import places
from experiments.control import scenario as scenarios
from experiments.control.scenario import Scenario
from experiments.control.words import find_links, link_name
from experiments.errors import TrialError, UsageError
from experiments.host import machine
from experiments.parameters import Value
from experiments.runs import clock as clocks
from experiments.runs import fingerprint, rundata, runfolder
from experiments.runs.spec import Spec
from experiments.study import Evidence, Findings, Study
from experiments.verdict.oracle import oracle
from experiments.verdict.result import Check, Fidelity, Result
from topologies import sources
from topologies.build import NetworkBuilder
from topologies.emulation.options import LabOptions
from topologies.emulation.sandbox import LIMIT_S, Sandbox, sandbox
from topologies.family import Family
from topologies.model import Network
from topologies.plan import Plan, plan
from topologies.validate import NetworkError, problems

if TYPE_CHECKING:
    import pandas as pd

Watch = Callable[[Mapping[str, Any]], None]
"""Gets each progress message of the trial (see ``experiments.runs.trial``)."""

ScenarioSource = Path | str | Sequence[Mapping[str, Any]] | None
"""A scenario's file, or steps like those in one."""

SILENCE_S = 10.0
"""In real time a trial shows twice a second that it lives; so long without that, it does not."""

LOG_TAIL_LINES = 15
TRIAL = ("-m", "experiments.runs.trial")
TRIAL_LOG = "trial.log"


def _unwatched(_message: Mapping[str, Any]) -> None:
    """Nobody wants to know about progress."""


def make_spec(
    study_name: str,
    network: Network | NetworkBuilder | str = "triangle",
    *,
    pops: str | None = None,
    steering: str | None = None,
    upstream: str | None = None,
    seed: int = 1,
    quick: bool = False,
    links: str = "auto",
    datapath: str = "auto",
    clock: str = "auto",
    root: str = "host",
    limit_s: float = LIMIT_S,
    params: Mapping[str, object] | None = None,
    family: Family = 4,
    scenario: ScenarioSource = None,
    pcap: Sequence[str] = (),
) -> Spec:
    """Describe a run with every default resolved; nothing is built.

    Raises UsageError for an unknown study, parameter, link, link backend, datapath or clock,
    NetworkError for a network that is unknown or has problems.
    """
    asked = study.study(study_name)
    resolved = asked.params(quick, params or {})
    try:
        options = LabOptions.parse(links, datapath, clocks.choose(asked, clock).clock, root)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if isinstance(network, NetworkBuilder):
        network = network.network()
    if not isinstance(network, Network):
        network = sources.load(network, pops, steering, upstream)
    for what, present in (("client", network.clients), ("origin", network.origins)):
        if not present:
            raise UsageError(f"The network {network.name} has no {what}: a study needs one.")
    if network.steering not in asked.policies:
        able = ", ".join(asked.policies)
        raise UsageError(
            f"The study {study_name} compares with the model of policy {able}, and {network.name} "
            f"is steered by {network.steering}: add --steering {asked.policies[0]}."
        )
    if network.upstream not in asked.upstreams:
        able = ", ".join(asked.upstreams)
        raise UsageError(
            f"The study {study_name} needs upstream {able}, and that of {network.name} is "
            f"{network.upstream}: add --upstream {asked.upstreams[0]}."
        )
    network = _prepared(asked, network, resolved)
    if not limit_s > 0:
        raise UsageError(f"A trial cannot be done in {limit_s:g} s: allow it more.")
    steps = _scenario(scenario, plan(network))
    if (steps or pcap) and not asked.lab:
        what = "--scenario" if steps else "--pcap"
        raise UsageError(f"The study {study_name} has no lab to change or record: omit {what}.")
    if family not in asked.families:
        able = " and ".join(f"IPv{one}" for one in asked.families)
        raise UsageError(f"The study {study_name} is about {able} alone: leave --family out.")
    names = tuple(map(link_name, find_links(plan(network), pcap)))
    return Spec(study_name, network, seed, quick, options, resolved, limit_s, steps, family, names)


def _prepared(asked: Study, network: Network, params: Mapping[str, Value]) -> Network:
    """The network with what the study adds. Raises UsageError, NetworkError."""
    prepared = asked.prepare(network, params)
    found = [] if prepared is network else problems(prepared)
    if found:
        raise NetworkError(found)
    return prepared


def _scenario(source: ScenarioSource, network_plan: Plan) -> Scenario:
    if source is None:
        return ()
    if isinstance(source, Path | str):
        return scenarios.read(Path(source), network_plan)
    return scenarios.parse(source, network_plan)


def run(
    study: str,
    network: Network | NetworkBuilder | str = "triangle",
    *,
    pops: str | None = None,
    steering: str | None = None,
    upstream: str | None = None,
    seed: int = 1,
    quick: bool = False,
    links: str = "auto",
    datapath: str = "auto",
    clock: str = "auto",
    root: str = "host",
    limit_s: float = LIMIT_S,
    params: Mapping[str, object] | None = None,
    family: Family = 4,
    scenario: ScenarioSource = None,
    pcap: Sequence[str] = (),
    results: Path | str | None = None,
    watch: Watch = _unwatched,
) -> Result:
    """Run a study in a lab of its own and keep everything in a run folder.

    ``network`` is a ``Network``, a ``NetworkBuilder``, or what ``topologies.sources.load`` takes;
    ``pops`` puts its PoPs elsewhere; ``clock`` is ``real``, ``virtual``, or ``auto`` (see
    ``experiments.runs.clock``); ``root`` is ``host`` or, in virtual time, ``hermetic`` (see
    ``sandbox.root``); ``params`` changes parameters of the study; clients ask by ``family`` 4 or
    6; a trial that takes longer than ``limit_s`` is ended; ``scenario`` is what happens to the lab
    meanwhile, a file or a list of steps; the frames of the links that ``pcap`` names are kept;
    ``results`` is where run folders go. Real time needs root.
    The result may be invalid: ask ``result.valid``.

    Raises as ``make_spec``, NoSandboxError where no lab can be made, TrialError if the trial broke
    off; nothing is left behind then.
    """
    spec = make_spec(
        study,
        network,
        pops=pops,
        steering=steering,
        upstream=upstream,
        seed=seed,
        quick=quick,
        links=links,
        datapath=datapath,
        clock=clock,
        root=root,
        limit_s=limit_s,
        params=params,
        family=family,
        scenario=scenario,
        pcap=pcap,
    )
    return run_spec(spec, None if results is None else Path(results), watch)


def run_spec(spec: Spec, results: Path | None = None, watch: Watch = _unwatched) -> Result:
    """Run what a spec describes; otherwise as ``run``."""
    place = runfolder.root(results)
    sandbox(spec.options).check(place)
    if spec.options.clock != "real":  # there it would disturb the lab
        threading.Thread(target=_load_evaluation, daemon=True).start()
    with runfolder.building(spec.study, spec.network.name, place) as (tmp, final):
        run_trial(spec, tmp, watch)
        watch({"step": "evaluation and figures", "expected_s": 0})
        return replace(conclude(tmp), run=final)


@cache
def _load_evaluation() -> None:
    """Make ready what comes after a trial: two seconds of work, once, that nobody waits for."""
    import pandas as pd
    import pyarrow.dataset

    from experiments.show.figures import canvas
    from experiments.show.page import chart, markup, run
    from experiments.verdict import calibrate

    machine.versions()
    canvas.load()
    chart.load()
    markup.load("base.html", "run.html")
    del calibrate, pd, pyarrow, run
    gc.freeze()  # what has been loaded stays: no collection need look at it again


def run_trial(
    spec: Spec, folder: Path, watch: Watch = _unwatched, program: Sequence[str] = TRIAL
) -> None:
    """Run the trial alone: afterwards ``folder`` is an archive that ``conclude`` can read anywhere.

    ``program`` is what Python runs: the trial, or one that does something to it first.

    Raises SandboxError where no lab can be made, TrialError with the cause if it gave no answer.
    """
    spec.write(folder / "spec.json")
    box = sandbox(spec.options, spec.seed)
    started = time.time()
    told: list[str] = []

    def line(text: str) -> bool:
        message = json.loads(text)
        if "error" in message:
            told.append(str(message["error"]))
        elif "done" in message:
            return True
        elif "beat" not in message:
            watch(message)
        return False

    argv = [box.python, *program, "spec.json", "."]
    with ThreadPoolExecutor(1) as meanwhile, ExitStack() as stack:
        handed = {}
        if box.clock == "real":
            door = stack.enter_context(places.opened(f"{spec.network.name}-{spec.study}"))
            handed = places.handed_in(door)
        exact = box.clock != "real"
        depends = meanwhile.submit(_fingerprint, spec.options) if exact else None
        code = box.run(
            argv,
            folder,
            told=line,
            log=TRIAL_LOG,
            **handed,
            limit_s=spec.limit_s,
            silence_s=SILENCE_S,
            ticked=lambda seconds: watch({"virtual_s": seconds}),
        )
    if code != 0:
        log = (folder / TRIAL_LOG).read_text(errors="replace")
        tail = "\n".join(log.splitlines()[-LOG_TAIL_LINES:])
        cause = told[-1] if told else f"The trial ended with code {code}; its log ends:\n{tail}"
        raise TrialError(cause)
    ran = _ran(box, started) | {"fingerprint": depends.result() if depends else None}
    runfolder.write_json(folder / "ran.json", ran)


def _ran(box: Sandbox, started: float) -> dict[str, Any]:
    """When and on what a trial ran: what its own files do not say."""
    return {
        "start": _utc(started),
        "end": _utc(time.time()),
        "duration_s": round(time.time() - started, 3),
        "sandbox": box.facts(),
        "cpu": machine.cpu(),
        "versions": machine.versions(),
        "git": machine.revision(),
    }


def _fingerprint(options: LabOptions) -> dict[str, str]:
    """What a guest depends on; a hermetic root stands in its sandbox's facts, by its hash."""
    host_files = fingerprint.environment() if options.root == "host" else {}
    return {"code": fingerprint.code(), **host_files}


def conclude(folder: Path) -> Result:
    """Evaluate what ``run_trial`` left in ``folder``, which becomes a whole run folder."""
    import pandas as pd

    spec = Spec.read(folder / "spec.json")
    asked = study.study(spec.study)
    ran = runfolder.read_json(folder / "ran.json")
    observed = runfolder.read_json(folder / "observed.json")
    network_plan = plan(spec.network)
    evidence = Evidence(
        spec=spec,
        plan=network_plan,
        oracle=oracle(network_plan),
        samples=pd.DataFrame(runfolder.read_lines(folder / "samples.jsonl")),
        observed=observed["study"],
    )
    fidelity = _fidelity(observed) if asked.lab else None
    findings = asked.evaluate(evidence)
    capture = observed["capture"]
    result = Result(
        run=folder,
        study=spec.study,
        network=spec.network.name,
        seed=spec.seed,
        checks=(*findings.checks, *_fidelity_checks(asked, evidence, fidelity)),
        metrics=findings.metrics,
        fidelity=fidelity,
        sandbox=ran["sandbox"],
        capture_sha256=capture["sha256"] if capture else None,
    )
    figures = asked.draw(evidence, findings, folder)
    _write_frames(folder, evidence.samples, findings)
    _gather_logs(folder)
    runfolder.write_json(folder / "result.json", result.contract() | {"answer": findings.answer})
    runfolder.write_json(
        folder / "manifest.json",
        {
            "schema": runfolder.SCHEMA,
            "start": ran["start"],
            "end": ran["end"],
            "duration_s": ran["duration_s"],
            "seed": spec.seed,
            "sandbox": ran["sandbox"],
            "fingerprint": ran["fingerprint"],
            "capture": capture,
            "links": observed["links"],
            "fidelity": result.contract()["fidelity"],
            "probes": observed["probes"],
            "calibration": observed["calibration"],
            "lab": observed["lab"],
            "leases": observed["leases"],
            "controller": observed["controller"],
            "observed": observed["study"],
            "host": {"cpu": ran["cpu"], "load": observed["load"]},
            "versions": ran["versions"],
            "git": ran["git"],
            "figures": [figure.name for figure in figures],
        },
    )
    write_page(folder)
    return result


def write_page(folder: Path) -> None:
    """Write the run as a web page, from what is in its folder, as can be done again later."""
    from experiments.show.page.run import render

    (folder / runfolder.PAGE).write_text(
        render(rundata.load(folder, compact=True)), encoding="utf-8"
    )


def _fidelity(observed: Mapping[str, Any]) -> Fidelity:
    """The emulator's own error in a lab."""
    from experiments.verdict import calibrate

    calibration = calibrate.parse(observed["calibration"])
    return calibrate.fidelity(observed["links"], calibration, observed["load"])


def _fidelity_checks(
    asked: study.Study, evidence: Evidence, fidelity: Fidelity | None
) -> tuple[Check, ...]:
    """Whether the emulator was true, by its own account and by the study's own times."""
    from experiments.verdict import calibrate, truth

    if fidelity is None:
        return ()
    times = asked.timed
    own = truth.checks(times, evidence.samples, evidence.plan) if times else ()
    virtual = evidence.spec.options.clock == "virtual"
    judged = bool(own) or virtual or not asked.sends_packets
    return (*calibrate.checks(fidelity, judged=judged), *own)


def _write_frames(tmp: Path, samples: pd.DataFrame, findings: Findings) -> None:
    import pandas as pd

    samples.to_parquet(tmp / "samples.parquet", index=False)
    events = pd.DataFrame(
        runfolder.read_lines(tmp / "events.jsonl"), columns=["at_ms", "event", "detail"]
    ).sort_values("at_ms", kind="stable")
    events.to_csv(tmp / "events.csv", index=False)
    summary = [{"metric": name, **asdict(metric)} for name, metric in findings.metrics.items()]
    pd.DataFrame(summary, dtype=object).to_csv(tmp / "summary.csv", index=False)
    for name, table in findings.tables.items():
        table.to_csv(tmp / f"{name}.csv", index=False)


def _gather_logs(tmp: Path) -> None:
    """Keep the logs in one folder, and drop what has become a table or a manifest."""
    logs = tmp / "logs"
    logs.mkdir(exist_ok=True)
    for log in tmp.glob("*.log"):
        log.rename(logs / log.name)
    keep = {"logs", "spec.json", runfolder.LOG}
    for path in tmp.iterdir():
        if path.name in keep or path.suffix in (".csv", ".png", ".svg", ".parquet", runfolder.PCAP):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _utc(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))
