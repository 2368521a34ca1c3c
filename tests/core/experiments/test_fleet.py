"""Sweeps on a real Dask scheduler with real worker processes; only the labs are played."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.errors import UsageError
from experiments.runs import fingerprint
from experiments.sweeps import fleet, sweep
from experiments.sweeps.fleet import Outcome
from experiments.sweeps.folder import SweepFolder
from tests.fakes import trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Client = object


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return sweep.prepare("latency", ["pops=1,2"], repeat=3, results=tmp_path, clock="real")


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("POPLAB_TEST_FOLDER", str(tmp_path))
    with fleet.here(2) as client:
        yield client


def _done(
    folder: SweepFolder, client: Client, program: Callable[[str, str], Outcome]
) -> Counter[str]:
    """How often each trial was told to be over."""
    told: Counter[str] = Counter()
    sweep.carry_on(folder, client, lambda turn, _: told.update([turn.name]), program=program)
    return told


def _who(folder: SweepFolder) -> list[dict[str, int]]:
    return [
        json.loads((folder.run(turn) / "who.json").read_text())
        for turn in folder.sweep.turns
        if folder.run(turn).exists()
    ]


def test_a_fleet_does_every_trial_once(folder: SweepFolder, client: Client) -> None:
    assert fleet.labs_of(client) == 2
    names = {turn.name for turn in folder.sweep.turns}
    assert _done(folder, client, trials.answered) == Counter(dict.fromkeys(names, 1))
    found = _who(folder)
    assert [who["seed"] for who in found] == [turn.seed for turn in folder.sweep.turns]
    assert len({who["worker"] for who in found}) == 2
    assert folder.left() == []


def test_a_trial_whose_worker_is_killed_is_done_by_another(
    folder: SweepFolder, client: Client, tmp_path: Path
) -> None:
    names = {turn.name for turn in folder.sweep.turns}
    assert _done(folder, client, trials.deadly_once) == Counter(dict.fromkeys(names, 1))
    assert (tmp_path / "tried").exists()
    assert folder.left() == []


def test_a_trial_that_kills_every_worker_fails_and_can_be_resumed(
    folder: SweepFolder, client: Client
) -> None:
    told = _done(folder, client, trials.deadly)
    assert set(told.values()) == {1}
    left = folder.left()
    assert {turn.seed for turn in left} == {2}
    assert all("The worker gave no answer" in (folder.failure(turn) or "") for turn in left)
    before = _who(folder)
    resumed = SweepFolder(folder.path)
    assert set(_done(resumed, client, trials.answered)) == {turn.name for turn in left}
    assert resumed.left() == []
    assert [who for who in _who(resumed) if who["seed"] != 2] == before


def test_a_worker_with_other_code_refuses() -> None:
    assert "other code" in fleet.perform("{}", "0123456789abcdef").cause


def test_what_goes_wrong_in_a_trial_is_its_outcome() -> None:
    assert "KeyError" in fleet.perform("{}", fingerprint.code()).cause


@pytest.mark.parametrize("where", ["tcp://127.0.0.1:9", "nonsense", ""])
def test_a_scheduler_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(fleet, "CONNECT_S", 0.5)
    with pytest.raises(UsageError, match="No scheduler answers"), fleet.at(where):
        pass
    with pytest.raises(UsageError, match="No scheduler answers"):
        fleet.serve(where, 1)
