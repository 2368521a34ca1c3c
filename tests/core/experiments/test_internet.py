"""The study internet disbelieves what is spoilt, and runs without a lab and without root."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import load, run, study
from experiments.errors import TrialError, UsageError
from experiments.runs import clock, fingerprint, repeat, runfolder, runner
from experiments.runs.spec import Spec
from experiments.study import Evidence, Trial
from experiments.sweeps import fleet
from experiments.verdict.result import Result
from tests.fakes.computed import Kept
from tests.fakes.evidence import failed, perfect, spoil
from tests.fakes.markup import Page
from topologies.emulation.options import LabOptions
from topologies.emulation.sandbox import SandboxError, sandbox
from topologies.emulation.sandbox.bare import Bare

SMALL = {"ases": 400, "sites": (1, 10), "greedy": 3, "draws": 3, "ways": 20, "egress_cities": (10,)}


def arm(name: str) -> Any:
    return lambda samples: samples["arm"] == name


# -- what is spoilt is seen


@pytest.mark.parametrize(
    ("where", "columns", "check"),
    [
        ("leak", {"valleys": 0}, "control: a route leak is seen as a valley"),
        ("lawful", {"valleys": 1}, "twin: without the leak there is none"),
        ("greedy", {"valleys": 1}, "no placement's paths have a valley"),
        ("random", {"strangers": 1}, "every route is that of a neighbour, a hop longer"),
        ("random", {"reached_share": 0.99}, "clients reach a site"),
        ("given", {"inflation_least_ms": -0.1}, "no path is shorter than the straight way"),
        ("random", {"rtt_p50_ms": 100.0}, "most sites are nearer than fewest"),
        ("greedy", {"rtt_mean_ms": 900.0}, "greedy sites are nearer than random ones"),
        ("announced", {"reached_share": 0.5}, "the loads of sites add up to the clients"),
        ("all prepended", {"shares": "0.2 0.3 0.5"}, "twin: prepending all sites alike moves"),
        ("largest prepended", {"shares": "1 1 1"}, "control: prepending the largest site takes"),
    ],
)
def test_a_spoilt_row_is_not_believed(where: str, columns: dict[str, Any], check: str) -> None:
    found = failed(spoil(perfect("internet"), arm(where), **columns))
    assert [name for name in found if name.startswith(check)], found


def observed(evidence: Evidence, name: str, **fields: Any) -> Evidence:
    """With other fields in every fact of a name."""
    facts = [fact | fields for fact in evidence.observed[name]]
    return replace(evidence, observed={**evidence.observed, name: facts})


@pytest.mark.parametrize(
    ("name", "fields", "check"),
    [
        ("losses", {"left_share": 0.1}, "control: a site that is lost gets nobody"),
        ("losses", {"nowhere_share": 0.1}, "twin: others have what it had"),
        ("floods", {"counted_share": 0.01}, "floods are absorbed as the closed form says"),
        ("egress", {"taken": 7}, "as many addresses are lent as the closed form says"),
    ],
)
def test_a_spoilt_fact_is_not_believed(name: str, fields: dict[str, Any], check: str) -> None:
    assert check in failed(observed(perfect("internet"), name, **fields))


# -- a run needs no lab


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run("internet", results=tmp_path_factory.mktemp("results"), quick=True, params=SMALL)


def test_a_run_is_valid_and_its_folder_whole(result: Result) -> None:
    assert [check for check in result.checks if not check.passed] == []
    assert (result.clock, result.fidelity, result.capture_sha256) == ("none", None, None)
    data = load(result.run)
    assert data.result.contract() == result.contract()
    assert len(data.samples) > 20
    assert {"placements", "losses", "splits", "floods", "egress"} <= set(data.tables)
    assert data.manifest["observed"]["internet"]["ases"] == 400
    assert set(data.events["event"]) == {"begin", "end"}
    page = Page((result.run / runfolder.PAGE).read_text())
    assert "fidelity" not in [x.get("id") for x in page.all("section")]
    assert "no lab" in page.text
    assert "Nothing was emulated." in page.text
    assert len(page.all("img")) == len(data.figures) == 2


def test_it_can_be_had_again_to_the_byte(result: Result, tmp_path: Path) -> None:
    again, comparison = repeat.reproduce(result.run, tmp_path, lambda _message: None)
    assert comparison.equal, comparison.sentence()
    assert repr(again.metrics) == repr(result.metrics)


def test_another_seed_is_another_internet(result: Result, tmp_path: Path) -> None:
    other = run("internet", results=tmp_path, quick=True, params=SMALL, seed=2)
    prints = [load(x.run).manifest["observed"]["internet"]["fingerprint"] for x in (result, other)]
    assert prints[0] != prints[1]


def test_a_worker_of_a_sweep_can_do_it() -> None:
    spec = runner.make_spec("internet", quick=True, params=SMALL)
    outcome = fleet.perform(spec.text(), fingerprint.code())
    assert outcome.archive is not None, outcome.cause
    assert fleet.labs_here("none") == len(os.sched_getaffinity(0))


def test_relations_of_a_file_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "as-rel.txt"
    lines = ["1|2|0|bgp", *(f"{1 + n % 2}|{n}|-1|bgp" for n in range(3, 30))]
    lines += [f"{3 + n % 25}|{n}|-1|bgp" for n in range(30, 300)]
    path.write_text("\n".join(lines))
    small = SMALL | {"relations": str(path), "sites": (1, 5)}
    made = run("internet", results=tmp_path, quick=True, params=small)
    told = load(made.run).manifest["observed"]["internet"]
    assert (told["name"], told["ases"], told["relations"]) == ("as-rel.txt", 299, len(lines))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"sites": (1, 300)}, "300 sites find room at"),
        ({"ases": 4}, "ask for 30 or more"),
        ({"relations": "/nonexistent"}, "No such file"),
    ],
)
def test_what_cannot_be_computed_is_told(params: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=said):
        run("internet", results=tmp_path, quick=True, params=SMALL | params)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clock": "real"}, "omit --clock"),
        ({"clock": "virtual"}, "omit --clock"),
        ({"pops": "1"}, "there is nothing to choose"),
        ({"params": {"draws": 0.5}}, "draws is a whole number"),
        ({"params": {"relations": "as-rel.txt"}}, "whole path of a file"),
        (
            {"scenario": [{"at": "1 s", "pop": "LHR", "do": "withdraw"}]},
            "no lab to change or record: omit --scenario",
        ),
        ({"pcap": ["LHR-ARN"]}, "omit --pcap"),
    ],
)
def test_what_a_study_without_a_lab_cannot_have_is_refused(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        runner.make_spec("internet", quick=True, **options)


def test_other_studies_have_a_lab_and_a_clock() -> None:
    with pytest.raises(UsageError, match="No clock 'none'"):
        runner.make_spec("latency", clock="none")
    assert clock.choose(study.study("internet")).sentence().startswith("no lab: ")
    assert clock.choose(study.study("latency"), "real").sentence() == "real time: as asked"


def test_a_trial_that_has_no_lab_cannot_use_one(tmp_path: Path) -> None:
    made = runner.make_spec("latency", clock="real", quick=True)
    spec = replace(made, options=LabOptions(clock="none"))
    with pytest.raises(TrialError, match="needs a lab"):
        runner.run_trial(spec, tmp_path)
    assert Spec.read(tmp_path / "spec.json").options.clock == "none"


def test_a_study_that_said_it_needs_no_lab_has_none() -> None:
    evidence = perfect("internet")
    t = Trial(evidence.spec, None, evidence.plan, evidence.oracle, {}, Kept())
    with pytest.raises(TrialError, match="said that it needs no lab"):
        t.lab.settle()


# -- the plain process


def test_a_plain_process_tells_and_ends_with_its_code(tmp_path: Path) -> None:
    box = sandbox(LabOptions(clock="none"))
    assert isinstance(box, Bare)
    box.check(tmp_path)
    lines: list[str] = []
    script = ["sh", "-c", "pwd; echo oops >&2; exit 3"]
    assert box.run(script, tmp_path, told=lines.append, log="a.log") == 3
    assert lines == [str(tmp_path)]
    assert (tmp_path / "a.log").read_text() == "oops\n"
    assert box.facts() == {"clock": "none"}


def test_a_plain_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="was not done after 0.3 s"):
        Bare().run(["sleep", "60"], tmp_path, told=lambda _line: None, limit_s=0.3)


def test_a_plain_process_dies_with_who_started_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from topologies.emulation.sandbox.bare import Bare; "
        "Bare().run(['sh', '-c', 'echo $$; exec sleep 60'], Path(sys.argv[1]), "
        "told=lambda line: print(line, flush=True))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        assert gone(child, within_s=0) is False
        starter.kill()
    assert gone(child, within_s=10)


def gone(pid: int, within_s: float) -> bool:
    """Whether a process has ended by then; one that nobody has buried yet has ended too."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z" or time.monotonic() > deadline:
            return state == "Z"
        time.sleep(0.05)
