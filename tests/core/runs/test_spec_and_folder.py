"""Specs come back equal; run folders appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.errors import UsageError
from experiments.runs import runfolder, runner
from experiments.runs.spec import Spec
from topologies.validate import NetworkError


@pytest.mark.parametrize("network", ["triangle", "europe", "world"])
def test_spec_round_trip(network: str, tmp_path: Path) -> None:
    spec = runner.make_spec("latency", network, seed=7, quick=True)
    spec.write(tmp_path / "spec.json")
    assert Spec.read(tmp_path / "spec.json") == spec


def test_equal_specs_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        runner.make_spec("borrowing", "triangle", seed=3).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_spec_of_another_schema_is_refused() -> None:
    data = runner.make_spec("latency").dump() | {"schema": 99}
    with pytest.raises(ValueError, match="schema 99"):
        Spec.parse(data)


def test_parameters_are_resolved_and_may_be_changed() -> None:
    usual = runner.make_spec("latency").params
    quick = runner.make_spec("latency", quick=True).params
    assert quick["pings"] < usual["pings"]
    assert runner.make_spec("latency", params={"pings": 5}).params["pings"] == 5


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"study_name": "nope"}, "no study 'nope'"),
        ({"study_name": "latency", "links": "magic"}, "No link backend 'magic'"),
        ({"study_name": "latency", "params": {"pongs": 1}}, "no parameter 'pongs'"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments: dict[str, str], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        runner.make_spec(**arguments)  # type: ignore[arg-type]


def test_unknown_network_is_refused() -> None:
    with pytest.raises(NetworkError):
        runner.make_spec("latency", "atlantis")


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    with runfolder.building("latency", "tri/angle", tmp_path) as (temporary, final):
        (temporary / "data").write_text("x")
        assert not final.exists()
    assert (final / "data").read_text() == "x"
    assert final.parent == tmp_path / "latency"
    assert list(final.parent.iterdir()) == [final]


def break_off(results: Path, error: type[BaseException]) -> list[Path]:
    """What stays of a run that ends like this."""

    def fail() -> None:
        with runfolder.building("latency", "t", results) as (folder, _):
            (folder / "trial.log").write_text("why")
            raise error

    with pytest.raises(error) as raised:
        fail()
    left = list((results / "latency").iterdir())
    notes = getattr(raised.value, "__notes__", [])
    assert [str(path) in note for path, note in zip(left, notes, strict=True)] == [True] * len(left)
    return left


def test_a_run_that_broke_off_stays_as_evidence(tmp_path: Path) -> None:
    (left,) = break_off(tmp_path, RuntimeError)
    assert left.name.endswith(".failed")
    assert (left / "trial.log").read_text() == "why"


def test_a_run_that_was_stopped_leaves_nothing(tmp_path: Path) -> None:
    assert break_off(tmp_path, KeyboardInterrupt) == []


def test_nothing_stays_after_sigkill(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from experiments.runs import runfolder\n"
        "with runfolder.building('latency', 't', Path(sys.argv[1])) as (folder, _):\n"
        "    (folder / 'data').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (unfinished,) = (tmp_path / "latency").iterdir()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 5
    while unfinished.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not unfinished.exists()


def test_results_go_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POPLAB_RESULTS", str(tmp_path / "env"))
    assert runfolder.root() == tmp_path / "env"
    assert runfolder.root(tmp_path / "asked") == tmp_path / "asked"
    monkeypatch.delenv("POPLAB_RESULTS")
    monkeypatch.chdir(tmp_path)
    assert runfolder.root() == Path(runfolder.__file__).parents[2] / "results"


def test_what_is_lent_is_no_matter_of_ipv6() -> None:
    assert runner.make_spec("latency", family=6, clock="real").family == 6
    with pytest.raises(UsageError, match="borrowing is about IPv4 alone: leave --family out"):
        runner.make_spec("borrowing", family=6, clock="real")
