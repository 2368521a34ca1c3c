"""The first process of a sandbox: builds the lab, runs one study's trial, writes what it saw.

``python -m experiments.runs.trial SPEC.json OUT`` leaves ``samples.jsonl``, ``events.jsonl``,
``observed.json`` and the lab's logs in OUT. Standard output carries progress, one JSON object a
line: ``{"phase", "seconds"}``, ``{"step", "expected_s"}``, ``{"beat"}``, ``{"done"}`` when all is
written and only the lab's end is left, or ``{"error"}``; what others print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from controller.core.events import of_record, sentence
from experiments.control.scenario import playing
from experiments.control.server import serving
from experiments.errors import TrialError
from experiments.measure.capture import CaptureError
from experiments.measure.load import LoadWatch
from experiments.runs import runfolder
from experiments.runs.spec import Spec
from experiments.runs.testbed import Testbed
from experiments.study import Borrowed, Trial, study
from experiments.verdict import calibrate
from experiments.verdict.oracle import oracle
from topologies.emulation.links import Histogram, LinkError
from topologies.emulation.processes import LabError, repeatedly, watched
from topologies.plan import HostRole, plan

BEAT_S = 0.5
"""How often a trial in real time shows that it lives."""

BEGIN_S = 20.0
"""When a lab begins in virtual time, counted from the guest's boot: always at the same moment,
whatever the steps before it cost."""

Tell = Callable[[Mapping[str, Any]], None]


class Recorder:
    """Writes rows and events as they come, and tells about progress."""

    def __init__(
        self, out: Path, tell: Tell, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Open the files in ``out``; ``now_ns`` is the clock of events."""
        self._samples = (out / "samples.jsonl").open("w")
        self._events = (out / "events.jsonl").open("w")
        self._tell = tell
        self._now_ns = now_ns
        self._start_ns = now_ns()

    def emit(self, row: Mapping[str, Any]) -> None:
        """Keep one row of samples."""
        _write_line(self._samples, row)

    def event(self, name: str, detail: str) -> None:
        """Keep something that happened, with its time since the start."""
        at_ms = (self._now_ns() - self._start_ns) / 1e6
        _write_line(self._events, {"at_ms": round(at_ms, 3), "event": name, "detail": detail})

    def merge(self, log: Iterable[Mapping[str, Any]]) -> None:
        """Put the controller's log among the events, in words."""
        for record in log:
            at_ms = (record["monotonic_ns"] - self._start_ns) / 1e6
            detail = sentence(of_record(record))
            row = {"at_ms": round(at_ms, 3), "event": record["event"], "detail": detail}
            _write_line(self._events, row)

    def step(self, name: str, expected_s: float) -> None:
        """Tell people what goes on now, and for how long."""
        self._tell({"step": name, "expected_s": expected_s})

    def phase(self, name: str, seconds: float) -> None:
        """A phase of the lab's start is over."""
        self.event("phase", f"{name}: {seconds:.3f} s")
        self._tell({"phase": name, "seconds": round(seconds, 3)})

    def close(self) -> None:
        """Close the files."""
        self._samples.close()
        self._events.close()


def run(spec: Spec, out: Path, tell: Tell) -> None:
    """Run one trial in a fresh lab. Raises LabError or TrialError."""
    virtual = spec.options.clock == "virtual"
    if virtual:
        time.sleep(max(0.0, BEGIN_S - time.monotonic()))
    recorder = Recorder(out, tell)
    begin = time.monotonic()
    with (
        Testbed(
            spec.network,
            folder=out,
            options=spec.options,
            seed=spec.seed,
            captured=virtual,
            purpose=spec.study,
            on_phase=recorder.phase,
        ) as lab,
        serving(lab.control),
    ):
        ready_s = time.monotonic() - begin
        t = Trial(
            spec=spec,
            testbed=lab,
            plan=lab.plan,
            oracle=oracle(lab.plan),
            leases=_leases(lab),
            reporter=recorder,
        )
        recorders = [lab.record(name, out / f"{name}{runfolder.PCAP}") for name in spec.pcap]
        with watched(lab.programs, lambda cause: _break_off(recorder, tell, cause)):
            with t.step("the emulator's own error"):
                calibration = calibrate.compensate(lab, t.oracle, spec.seed)
            scenario = playing(
                spec.scenario,
                lab.control.say,
                failed=partial(_break_off, recorder, tell),
                unsaid=lambda what: tell({"warning": what}),
            )
            with LoadWatch() as watch, scenario:
                study(spec.study).trial(t)
            with t.step("the emulator's own error again"):
                held_out = calibrate.choose(t.oracle, spec.seed)[1]
                left = calibrate.measure(t.oracle, held_out, spec.seed)
                calibration = replace(calibration, compensated=left)
        lab.check()
        for recorder_of_link in recorders:
            lab.end(recorder_of_link.name)
        controller = lab.controller_api.status()
        if controller["fault"]:
            raise TrialError(f"The controller's lending stands still: {controller['fault']}")
        observed = {
            "study": t.observed,
            "calibration": asdict(calibration),
            "leases": [asdict(lease) for lease in t.leases.values()],
            "links": _links(lab) | {"timed": _timed(t.lateness, calibration.advance_us)},
            "load": watch.load().summary(),
            "probes": lab.probes,
            "lab": {"ready_s": ready_s, "phases_s": lab.phases},
            "controller": controller,
            "capture": _capture(lab),
        }
        log = lab.controller_api.events()
        with (out / runfolder.LOG).open("w") as file:
            for record in log:
                _write_line(file, record)
        recorder.merge(log)
        recorder.close()
        (out / "observed.json").write_text(json.dumps(observed))
        if virtual:
            os.sync()  # whoever reads "done" may end the guest
        tell({"done": True})


def compute(spec: Spec, out: Path, tell: Tell) -> None:
    """Run one trial that needs no lab. Raises TrialError, at once for one that does."""
    if study(spec.study).lab:
        raise TrialError(f"The study {spec.study} needs a lab: give it the clock real or virtual.")
    recorder = Recorder(out, tell, lambda: 0)  # equal runs say equal things, so none say when
    made = plan(spec.network)
    t = Trial(spec, None, made, oracle(made), {}, recorder)
    study(spec.study).trial(t)
    recorder.close()
    emulated = ("calibration", "links", "load", "probes", "lab", "controller", "capture")
    observed: dict[str, Any] = {"study": t.observed, "leases": [], **dict.fromkeys(emulated)}
    (out / "observed.json").write_text(json.dumps(observed))
    tell({"done": True})


def _break_off(recorder: Recorder, tell: Tell, cause: str) -> None:
    """End the trial at once, wherever it is: without that program it can only wait in vain."""
    recorder.event("fell", cause)
    recorder.close()
    tell({"error": cause})
    os._exit(1)  # the sandbox goes with its first process, and all programs with it


def _capture(lab: Testbed) -> dict[str, Any] | None:
    """How many frames crossed the links, and their hash; None where they were not watched."""
    return None if lab.capture is None else asdict(lab.capture.digest())


def _leases(lab: Testbed) -> dict[str, Borrowed]:
    """Every server's lease. Raises TrialError if a server has none."""
    leases = {
        server: Borrowed(
            server,
            lab.plan.host(server).city,
            lease["address"],
            lease["first_port"],
            lease["last_port"],
        )
        for server, lease in lab.leases().items()
    }
    lacking = [h.name for h in lab.plan.hosts_of(HostRole.SERVER) if h.name not in leases]
    if lacking:
        raise TrialError(f"{len(lacking)} servers got no lease, first: {lacking[0]}.")
    return leases


def _links(lab: Testbed) -> dict[str, Any]:
    """What carried the links, and how late it was: its own error bar, link by link."""
    assert lab.emulator is not None
    ends = {link.number: f"{link.a.node} - {link.b.node}" for link in lab.emulated_links}
    rows = []
    total = Histogram()
    for number, directions in lab.emulator.stats().items():
        late = directions[0].lateness + directions[1].lateness
        total += late
        drops: Counter[str] = Counter()
        for direction in directions:
            drops.update(direction.drops)
        rows.append(
            {
                "link": ends[number],
                "packets": sum(direction.packets for direction in directions),
                "drops": {cause: n for cause, n in drops.items() if n},
                **_lateness_us(late),
            }
        )
    emulated = len(lab.emulated_links)
    return {
        "backend": lab.emulator.name,
        "emulated": emulated,
        "overruns": lab.emulator.overruns(),
        **_lateness_us(total),
        "links": rows,
    }


def _timed(late: Histogram, advance_us: float) -> dict[str, Any]:
    """How late packets were while times were measured; links send early by ``advance_us``."""
    found = _lateness_us(late)
    return {"packets": late.count} | {
        name: None if us is None else round(us + advance_us, 1) for name, us in found.items()
    }


def _lateness_us(late: Histogram) -> dict[str, float | None]:
    """Median and 99th percentile of lateness in us; None where the backend cannot say."""
    return {
        f"lateness_p{q}_us": round(late.percentile(q) / 1000, 1) if late.count else None
        for q in (50, 99)
    }


def _write_line(file: IO[str], row: Mapping[str, Any]) -> None:
    file.write(json.dumps(row) + "\n")


def main(argv: list[str]) -> int:
    """Run the trial that a spec file describes; the exit code is 1 if it gave no answer."""
    spec_file, out = (Path(word).resolve() for word in argv)
    progress = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a library that prints must not break the lines that others parse

    def tell(message: Mapping[str, Any]) -> None:
        _write_line(progress, message)

    def beat() -> bool:
        tell({"beat": True})
        return True

    spec = Spec.read(spec_file)
    beating = nullcontext() if spec.options.clock == "virtual" else repeatedly(beat, BEAT_S)
    try:
        with beating:
            (compute if spec.options.clock == "none" else run)(spec, out, tell)
    except (CaptureError, LabError, LinkError, TrialError) as error:
        traceback.print_exc()
        tell({"error": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
