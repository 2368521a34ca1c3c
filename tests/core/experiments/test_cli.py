"""The command line: what it prints, how it refuses, and its exit codes. No lab is built."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.errors import TrialError
from experiments.runs import runfolder, runner
from experiments.runs.repeat import Comparison
from experiments.sweeps import sweep
from experiments.verdict.result import Check, Fidelity, Metric, Result
from topologies.emulation.sandbox import NoSandboxError, SandboxError

Poplab = Callable[..., tuple[int, str, str]]


@pytest.fixture
def poplab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Poplab:
    """Runs the command line in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["poplab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def _result(folder: Path, *, passed: bool) -> Result:
    fidelity = Fidelity("delayline", 100.0, 900.0, 9, 150.0, 1000.0, 100)
    checks = (Check("control: fails", passed, "as it must"),)
    return Result(folder, "latency", "triangle", 1, checks, {"x": Metric(1.0, "ms")}, fidelity)


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_json_is_one_object_and_validity_the_exit_code(
    poplab: Poplab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, passed: bool, code: int
) -> None:
    result = _result(tmp_path, passed=passed)
    monkeypatch.setattr(runner, "run_spec", lambda *_: result)
    ended, out, err = poplab("run", "latency", "--json")
    assert ended == code
    assert json.loads(out) == result.contract()
    assert json.loads(out)["valid"] is passed
    assert err == ""


def test_a_copied_folder_does_not_run_the_code_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / ".venv" / "bin" / "poplab"
    script.parent.mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    monkeypatch.setattr(sys, "argv", [str(script), "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said == f"poplab: {tmp_path} was copied or moved: run `make setup` there.\n"


def test_names_are_shown_as_they_are_written(poplab: Poplab, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    cities = "[{code: LHR, name: '[red]London[/]', lat: 51, lon: 0}]"
    path.write_text(f"name: x\ndescription: '[bold]hm[/] [/x]'\ncities: {cities}\npops: [LHR]\n")
    code, out, _ = poplab("show", path, "--map", tmp_path / "x.png")
    assert code == 0
    assert "[bold]hm[/] [/x]" in out
    assert "[red]London[/]" in out


def test_a_noisy_machine_has_an_exit_code_of_its_own(
    poplab: Poplab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    noisy = replace(_result(tmp_path, passed=True), checks=(Check("times", False, "", noise=True),))
    monkeypatch.setattr(runner, "run_spec", lambda *_: noisy)
    assert poplab("run", "latency", "--json")[0] == 3


@pytest.mark.parametrize("error", [SandboxError("stood still"), TrialError("broke off")])
def test_failure_is_one_sentence_and_exit_code_1(
    poplab: Poplab, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> Result:
        raise error

    monkeypatch.setattr(runner, "run_spec", fail)
    assert poplab("run", "latency", "--json") == (1, "", f"poplab: {error}\n")


@pytest.mark.parametrize(
    ("number", "helps"),
    [
        (errno.ENOSPC, "free some space, or choose another place (that of runs by --results)."),
        (errno.EROFS, "choose another place (that of runs by --results)."),
        (errno.EMFILE, "raise the limit of open files (`ulimit -n 4096`)."),
    ],
)
def test_an_error_of_the_host_comes_with_its_mend(
    poplab: Poplab, monkeypatch: pytest.MonkeyPatch, number: int, helps: str
) -> None:
    def fail(*_: Any) -> Result:
        raise OSError(number, os.strerror(number), "/there")

    monkeypatch.setattr(runner, "run_spec", fail)
    code, out, err = poplab("run", "latency", "--json")
    assert (code, out) == (1, "")
    assert err == f"poplab: {os.strerror(number)} (/there): {helps}\n"


def test_a_results_place_that_is_a_file_is_one_sentence(poplab: Poplab, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    code, out, err = poplab("run", "latency", "--clock", "real", "--json", "--results", place)
    assert (code, out) == (1 if os.geteuid() == 0 else 2, "")
    assert err.count("\n") == 1


def test_a_results_place_that_a_lab_hides_is_refused_before_it_is_made(poplab: Poplab) -> None:
    place = Path("/run/poplab-test-results")
    code, out, err = poplab("run", "latency", "--clock", "real", "--json", "--results", place)
    assert (code, out) == (2, "")
    assert "which a lab hides: choose another" in err
    assert not place.exists()


def test_failure_says_where_its_evidence_is(
    poplab: Poplab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Result:
        error = TrialError("broke off")
        error.add_note("What there is of the run is in /there.failed")
        raise error

    monkeypatch.setattr(runner, "run_spec", fail)
    said = "poplab: broke off\nWhat there is of the run is in /there.failed\n"
    assert poplab("run", "latency", "--json") == (1, "", said)


def test_where_no_lab_can_be_it_is_misuse(poplab: Poplab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Result:
        raise NoSandboxError("needs root")

    monkeypatch.setattr(runner, "run_spec", refuse)
    assert poplab("run", "latency", "--json") == (2, "", "poplab: needs root\n")


@pytest.fixture
def kernel_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user for whom no guest kernel has been built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("POPLAB_KERNEL", "SUDO_UID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("kernel_less")
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "latency", "--clock", "virtual", "--json"),
        ("up", "triangle", "--clock", "virtual", "--", "LHR-c1", "true"),
    ],
)
def test_without_a_kernel_virtual_time_says_what_to_run(
    poplab: Poplab, arguments: tuple[str, ...]
) -> None:
    code, out, err = poplab(*arguments)
    assert (code, out) == (2, "")
    assert "run `make virtual`" in err


@pytest.mark.usefixtures("kernel_less")
def test_the_first_line_says_which_clock_and_why(
    poplab: Poplab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> Result:
        raise NoSandboxError("enough seen")

    monkeypatch.setattr(runner, "run_spec", refuse)
    assert poplab("run", "latency", "--clock", "real")[2].startswith("real time: as asked\n")
    assert poplab("run", "latency")[2].startswith("real time: Virtual time needs the guest's")


@pytest.mark.parametrize(("differing", "code"), [((), 0), (("frames", "leases"), 1)])
def test_a_repeat_check_fails_where_two_runs_differ(
    poplab: Poplab,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    differing: tuple[str, ...],
    code: int,
) -> None:
    from experiments.runs import repeat

    comparison = Comparison(differing, ("programs",) if differing else ())
    good = _result(tmp_path, passed=True)
    monkeypatch.setattr(repeat, "check", lambda *_: (good, [comparison]))
    ended, out, _ = poplab("run", "latency", "--repeat-check", 2, "--json")
    assert ended == code
    told = {"differing": list(differing), "causes": list(comparison.causes)}
    assert json.loads(out)["repeats"] == [told]


def test_only_virtual_time_repeats(poplab: Poplab) -> None:
    code, _, err = poplab("run", "latency", "--clock", "real", "--repeat-check", "2")
    assert code == 2
    assert "use --clock virtual" in err


def test_interruption_is_said(poplab: Poplab, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_spec", interrupt)
    code, out, err = poplab("run", "latency", "--json")
    assert (code, out) == (130, "")
    assert "stopped" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "nope"),
        ("run", "latency", "--network", "atlantis"),
        ("run", "latency", "--links", "magic"),
        ("run", "latency", "--datapath", "moon"),
        ("run", "latency", "--clock", "sun"),
        ("run", "latency", "--clock", "real", "--root", "hermetic"),
        ("run", "latency", "--repeat-check", "1"),
        ("up", "triangle", "--clock", "sun", "--", "LHR-c1", "true"),
        ("up", "triangle", "--clock", "virtual"),  # no prompt there
        ("up", "triangle", "--", "NOPE", "ping"),
        ("reproduce", "/nonexistent"),
        ("run", "latency", "--pops", "NOWHERE"),
        ("run",),
        ("report", "/nonexistent"),
        ("show", "atlantis"),
        ("show", "triangle", "--map", "map.jpg"),
        ("frobnicate",),
        ("doctor", "--fix", "everything"),
    ],
)
def test_misuse_is_exit_code_2_and_says_why(poplab: Poplab, arguments: tuple[str, ...]) -> None:
    code, out, err = poplab(*arguments)
    assert code == 2
    assert out == ""
    assert err


def test_networks_are_listed(poplab: Poplab) -> None:
    code, out, _ = poplab("networks", "--json")
    names = {network["name"] for network in json.loads(out)["networks"]}
    assert code == 0
    assert {"triangle", "europe", "world"} <= names


def test_show_has_the_network_its_tables_and_a_map(poplab: Poplab, tmp_path: Path) -> None:
    picture = tmp_path / "deep" / "map.png"
    code, out, _ = poplab("show", "triangle", "--map", picture, "--json")
    shown = json.loads(out)
    assert code == 0
    assert [row["PoP"] for row in shown["tables"]["PoPs"]] == ["LHR", "ARN", "FCO"]
    assert shown["network"]["name"] == "triangle"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_map_that_cannot_be_written_hides_nothing_else(poplab: Poplab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    where = tmp_path / "file" / "map.png"
    code, out, err = poplab("show", "triangle", "--map", where)
    assert code == 1
    assert "10.98 ms" in out
    assert "choose a place with --map" in err
    code, out, _ = poplab("show", "triangle", "--map", where, "--json")
    assert (code, json.loads(out)["map"]) == (1, None)


def test_the_version_is_told(poplab: Poplab) -> None:
    code, out, _ = poplab("--version")
    assert code == 0
    assert out.startswith("poplab 0.")


def test_show_for_people_names_links_and_addresses(poplab: Poplab, tmp_path: Path) -> None:
    code, out, _ = poplab("show", "triangle", "--map", tmp_path / "map.png")
    assert code == 0
    for word in ("London", "10.98 ms", "203.0.113.0/24", "map.png"):
        assert word in out


def test_report_prints_the_run_again(poplab: Poplab, tmp_path: Path) -> None:
    result = _result(tmp_path, passed=False)
    manifest = runfolder.read_json(REFERENCE / "manifest.json") | {"figures": ["cdf.png"]}
    runfolder.write_json(tmp_path / "manifest.json", manifest)
    runfolder.write_json(tmp_path / "result.json", result.contract() | {"answer": "It is far."})
    code, out, _ = poplab("report", tmp_path)
    assert code == 0
    for word in ("It is far.", "INVALID", "control: fails", str(tmp_path / "cdf.png")):
        assert word in out.replace("\n", " ")
    assert json.loads(poplab("report", tmp_path, "--json")[1]) == result.contract()


HEAVY = ("pandas", "matplotlib", "numpy", "networkx", "pydantic", "mininet", "pyroute2")


def test_start_is_light() -> None:
    program = f"import sys; import experiments.cli; print({set(HEAVY)} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_trial_starts_without_what_only_the_evaluation_needs() -> None:
    program = "import sys; import experiments.runs.trial, experiments.studies.latency, "
    program += "experiments.studies.borrowing, experiments.studies.reachability; "
    program += "print({'pandas', 'matplotlib', 'pydantic', 'rich'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "latency-europe"


def test_a_report_can_be_a_page(poplab: Poplab, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert poplab("report", REFERENCE, "--html", page)[:2] == (0, f"page  {page}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")
    for wrong in (page.parent, "/proc/no/page.html"):
        code, _, err = poplab("report", REFERENCE, "--html", wrong)
        assert code == 2
        assert f"{wrong} cannot be written" in err
    code, out, _ = poplab("report", REFERENCE, "--html", page, "--json")
    assert (code, json.loads(out)) == (0, {"page": str(page)})


def test_a_report_says_where_the_page_is(poplab: Poplab, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(REFERENCE, run)
    assert f"page    {run}" not in poplab("report", run)[1]
    (run / runfolder.PAGE).write_text("")
    assert f"page    {run}/report.html\n" in poplab("report", run)[1]


def test_all_runs_are_listed_where_they_are(poplab: Poplab, tmp_path: Path) -> None:
    shutil.copytree(REFERENCE, tmp_path / "latency" / "run")
    index = tmp_path / "index.html"
    assert poplab("report", "--all", "--results", tmp_path)[:2] == (0, f"index  {index}\n")
    assert "latency on europe" in index.read_text()


@pytest.mark.parametrize("arguments", [(), (REFERENCE, "--all")])
def test_a_report_is_of_one_run_or_of_all(poplab: Poplab, arguments: tuple[object, ...]) -> None:
    code, out, err = poplab("report", *arguments)
    assert (code, out) == (2, "")
    assert "give its folder, or --all" in err


def test_a_path_is_no_markup(poplab: Poplab, tmp_path: Path) -> None:
    for name in ("[red]x", "[/red]x"):
        run = tmp_path / name / "latency" / "run"
        shutil.copytree(REFERENCE, run)
        code, out, _ = poplab("report", run)
        assert code == 0
        assert f"run     {run}\n" in out
        code, out, _ = poplab("report", "--all", "--results", tmp_path / name)
        assert (code, out) == (0, f"index  {tmp_path / name / 'index.html'}\n")


def test_where_no_results_are_there_is_no_list_of_them(poplab: Poplab, tmp_path: Path) -> None:
    code, _, err = poplab("report", "--all", "--results", tmp_path / "nowhere")
    assert code == 2
    assert "There are no results in" in err


def test_a_page_is_not_blamed_for_what_a_run_lacks(poplab: Poplab, tmp_path: Path) -> None:
    run, page = tmp_path / "run", tmp_path / "page.html"
    shutil.copytree(REFERENCE, run)
    for drawn in (*run.glob("*.png"), *run.glob("*.svg")):
        drawn.unlink()
    code, _, err = poplab("report", run, "--html", page)
    assert code == 2
    assert f"{run} is a damaged run folder" in err
    assert not page.exists()


@pytest.mark.parametrize("svg", [b"", b"<svg", b"\xff\xfe"])
def test_a_picture_that_is_none_is_told(poplab: Poplab, svg: bytes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(REFERENCE, run)
    next(run.glob("*.png")).with_suffix(".svg").write_bytes(svg)
    code, _, err = poplab("report", run, "--html", tmp_path / "page.html")
    assert code == 2
    assert "is no SVG picture" in err


def test_one_damaged_run_does_not_hide_the_others(poplab: Poplab, tmp_path: Path) -> None:
    for name in ("good", "manifest", "result"):
        shutil.copytree(REFERENCE, tmp_path / "latency" / name)
    for name, lacks in (("manifest", "start"), ("result", "sandbox")):
        path = tmp_path / "latency" / name / f"{name}.json"
        data = json.loads(path.read_text())
        data[lacks] = None
        path.write_text(json.dumps(data))
    assert poplab("report", "--all", "--results", tmp_path)[0] == 0
    listed = (tmp_path / "index.html").read_text()
    assert listed.count("damaged run folder") >= 1
    assert "latency on europe" in listed


def test_a_sweep_that_goes_on_is_asked_nothing_new(poplab: Poplab, tmp_path: Path) -> None:
    folder = sweep.prepare("latency", ["pops=1,2"], results=tmp_path, quick=True, clock="real")
    for given in (("--seed", "7"), ("--quick",), ("--network", "europe"), ("--links", "netem")):
        code, _, err = poplab("sweep", "--resume", folder.path, *given)
        assert code == 2
        assert "leave all else out" in err
    code, _, err = poplab("sweep", "latency", "network=triangle,europe", "--network", "world")
    assert code == 2
    assert "network is varied, and given as well" in err
