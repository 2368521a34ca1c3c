"""Sweeps without labs: axes, the order of trials, folders, rows and what they say together."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from experiments.errors import UsageError
from experiments.show.figures import sweep as figure
from experiments.show.page import index
from experiments.show.page import sweep as page
from experiments.study import study
from experiments.sweeps import axes, design, rows, sweep
from experiments.sweeps.axes import Axis
from experiments.sweeps.folder import SweepFolder, packed
from tests.fakes.markup import Page

REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "latency-europe"
LATENCY, SLICES = study("latency"), study("slices")


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("pops=1..3", ("1", "2", "3")),
        ("pops=1..9..4", ("1", "5", "9")),
        ("network=triangle, europe", ("triangle", "europe")),
        ("rate_per_s=10,2.5", (10.0, 2.5)),
        ("pings=2..3", (2.0, 3.0)),
        ("family=4,6", ("4", "6")),
    ],
)
def test_an_axis_is_a_list_or_a_range(word: str, values: tuple[object, ...]) -> None:
    (axis,) = axes.parse(LATENCY, [word])
    assert axis == Axis(word.partition("=")[0], values)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pops"], "varies nothing"),
        (["pops="], "varies nothing"),
        (["pops=3..1"], "no range"),
        (["pops=1..9..0"], "no range"),
        (["pops=1..99999"], "at most 1000 values"),
        (["pops=1,1"], "twice"),
        (["pops=1", "pops=2"], "varied twice"),
        (["seed=1..5"], "--repeat"),
        (["wombats=1"], "use one of network, pops"),
        (["pings=many"], "pings is a whole number"),
        (["pings=10,2.5"], "pings is a whole number"),
        (["rate_per_s=0"], "rate_per_s is a number from 0.0001 up"),
    ],
)
def test_what_cannot_be_varied_is_refused_with_what_can(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        axes.parse(LATENCY, words)


def test_a_study_goes_through_its_lists_by_itself() -> None:
    listed = next(name for name, p in SLICES.parameters.items() if isinstance(p.usual, tuple))
    with pytest.raises(UsageError, match="use --set"):
        axes.parse(SLICES, [f"{listed}=1,2"])


AXES = (Axis("pops", ("1", "2", "3")), Axis("pings", (1.0, 2.0)))


@given(st.integers(1, 6), st.integers(0, 1000))
def test_every_block_has_every_arm_once_in_an_order_of_its_own(repeat: int, seed: int) -> None:
    turns = design.turns(AXES, repeat, seed)
    assert len({turn.name for turn in turns}) == len(turns) == 6 * repeat
    for block in range(repeat):
        mine = turns[6 * block : 6 * block + 6]
        assert {turn.repetition for turn in mine} == {block}
        assert {turn.seed for turn in mine} == {seed + block}
        assert Counter(tuple(turn.arm.values()) for turn in mine) == Counter(
            tuple(arm.values()) for arm in design.arms(AXES)
        )
    assert turns == design.turns(AXES, repeat, seed)


def test_blocks_are_mixed() -> None:
    turns = design.turns(AXES, 8, 1)
    orders = {tuple(str(t.arm) for t in turns[6 * n : 6 * n + 6]) for n in range(8)}
    assert len(orders) > 6


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return sweep.prepare(
        "latency", ["pops=1,2", "pings=5"], repeat=2, results=tmp_path, quick=True, clock="real"
    )


def test_every_trial_is_described_before_any_begins(folder: SweepFolder) -> None:
    again = SweepFolder(folder.path)
    assert again.sweep == folder.sweep
    assert again.left() == list(folder.sweep.turns)
    specs = [sweep.Spec.parse_text(again.spec(turn)) for turn in again.sweep.turns]
    for turn, spec in zip(again.sweep.turns, specs, strict=True):
        assert (spec.seed, spec.params["pings"]) == (turn.seed, 5.0)
        assert len(spec.network.pops) == int(str(turn.arm["pops"]))


def test_a_trial_that_cannot_be_asked_refuses_the_whole_sweep(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="99"):
        sweep.prepare("latency", ["pops=1,99"], results=tmp_path)
    with pytest.raises(UsageError, match="IPv5|no IPv0"):
        sweep.prepare("latency", ["family=5"], results=tmp_path)
    for word, more in (("pings=3,4", {"params": {"pings": 5}}), ("pops=1,2", {"pops": "2"})):
        with pytest.raises(UsageError, match="is varied, and given as well"):
            sweep.prepare("latency", [word], results=tmp_path, **more)
    with pytest.raises(UsageError, match="are no sweep"):
        sweep.prepare("latency", ["pops=1,2"], repeat=5_001, results=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_lays_as_few_labs_side_by_side_as_any_of_its_clocks_bears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sweep.fleet, "here", asked.append)
    monkeypatch.setattr(sweep.fleet, "labs_here", {"virtual": 8, "real": 4}.__getitem__)
    monkeypatch.setattr(sweep, "sandbox", lambda _: SimpleNamespace(check=lambda _: None))
    for seed in range(4):  # whichever comes first
        mixed = sweep.prepare("latency", ["clock=virtual,real"], results=tmp_path, seed=seed)
        sweep.cluster(mixed, None, None)
    virtual = sweep.prepare("latency", ["clock=virtual"], results=tmp_path)
    sweep.cluster(virtual, None, None)
    assert asked == [4, 4, 4, 4, 8]


def test_a_damaged_trial_is_told_with_what_helps(folder: SweepFolder) -> None:
    turn = folder.sweep.turns[0]
    shutil.copytree(REFERENCE, folder.run(turn))
    (folder.run(turn) / "result.json").write_text("{")
    with pytest.raises(UsageError, match="delete it, and `poplab sweep --resume"):
        rows.turns_by_verdict(folder)
    shutil.rmtree(folder.run(turn))
    assert turn in folder.left()


def test_a_lost_spec_is_told(folder: SweepFolder) -> None:
    turn = folder.sweep.turns[0]
    spec = folder.path / "specs" / f"{turn.name}.json"
    for damage in (lambda: spec.write_text("x"), spec.unlink):
        damage()
        with pytest.raises(UsageError, match="is no spec"):
            folder.spec(turn)


def test_an_empty_folder_need_not_be_there(folder: SweepFolder) -> None:
    (folder.path / "failed").rmdir()
    folder.keep_failure(folder.sweep.turns[0], "it broke off")
    assert folder.failure(folder.sweep.turns[0]) == "it broke off"


def test_no_sweep_folder_is_told_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no sweep folder"):
        SweepFolder(tmp_path)
    (tmp_path / "sweep.json").write_text('{"schema": 99}')
    with pytest.raises(UsageError, match="layout 99, not 1"):
        SweepFolder(tmp_path)


REFERENCE = Path(__file__).parents[3] / "results" / "reference" / "latency-europe"


def test_a_run_is_kept_once_and_whole(folder: SweepFolder) -> None:
    first, second, third, fourth = folder.sweep.turns
    archive = packed(REFERENCE)
    folder.keep_failure(first, "it rained")
    assert folder.failure(first) == "it rained"
    folder.keep(first, archive)
    before = folder.run(first).stat().st_ctime_ns
    folder.keep(first, archive)  # the answer of a worker that was thought dead
    assert folder.run(first).stat().st_ctime_ns == before
    assert folder.failure(first) is None
    folder.keep_failure(second, "Traceback\nthe worker gave no answer")
    assert folder.left() == [second, third, fourth]
    kept = {path.name for path in folder.run(first).iterdir()}
    assert kept == {path.name for path in REFERENCE.iterdir()}
    assert [path.name for path in (folder.path / "runs").iterdir()] == [first.name]
    verdicts = {v: len(turns) for v, turns in rows.turns_by_verdict(folder).items()}
    assert verdicts == {"valid": 1, "failed": 1, "left": 2}
    found = rows.trials(folder)
    assert set(found["verdict"]) == {"valid", "failed"}
    assert found[found["verdict"] == "failed"]["metric"].isna().all()
    sweep.conclude(folder)
    assert len(pd.read_csv(folder.path / "trials.csv")) == len(found)
    shown = Page((folder.path / "sweep.html").read_text())
    for told in ("1 valid", "1 failed", "2 left", "the worker gave no answer", first.name):
        assert told in shown.text
    assert study("latency").question in shown.text
    assert shown.loads == []


def _rows(verdict: str = "valid") -> pd.DataFrame:
    """Seven trials of each of two arms; the second is 5 ms slower by the same seeds."""
    told = [
        {"pops": pops, "trial": f"{pops}-{seed}", "repetition": seed, "seed": seed}
        | {"verdict": verdict, "metric": "rtt_p50", "unit": "ms", "value": 10.0 * seed + shift}
        for pops, shift in (("1", 0.0), ("2", 5.0))
        for seed in range(1, 8)
    ]
    return pd.DataFrame(told)


def test_a_summary_is_over_valid_trials_and_in_pairs() -> None:
    axis = (Axis("pops", ("1", "2")),)
    summed = rows.summary(_rows(), axis).set_index("pops")
    assert summed["trials"].tolist() == [7, 7]
    assert summed["median"].tolist() == [40.0, 45.0]
    assert summed.loc["2", "difference"] == summed.loc["2", "difference_low"] == 5.0
    assert summed.loc["1", "difference"] == 0.0
    assert 0.5 < summed.loc["2", "superiority"] < 0.7
    assert (summed["low"] < summed["median"]).all()
    told = _rows()
    told.loc[told["value"] > 40, "value"] = None  # ours, but for three
    told.loc[told["pops"] == "2", "value"] += 100
    summed = rows.summary(told, axis).set_index("pops")
    assert summed.loc["2", "superiority"] == 1.0  # of what there is
    nothing = rows.summary(_rows("invalid"), axis)
    assert len(nothing) == 0


def test_a_sweep_says_most_of_the_first_metric_that_varies() -> None:
    axis = (Axis("pops", ("1", "2")),)
    found = list(page.compared(rows.summary(_rows(), axis), axis))
    assert [one.varies for one in found] == [True]
    assert page.answer(found) == (
        "rtt_p50: 40 [10, 70] ms with pops 1, 45 [15, 75] ms with pops 2;"
        " the difference is 5 [5, 5] ms in pairs of equal seeds."
    )
    assert page.answer([]).startswith("No trial is valid")
    alone = list(page.compared(rows.summary(_rows()[:7], ()), ()))
    assert page.answer(alone) == "rtt_p50: 40 [10, 70] ms with all trials, over 7 trials."


def test_sweeps_stand_in_the_list_of_runs(folder: SweepFolder) -> None:
    sweep.conclude(folder)
    (entry,) = index.entries(folder.path.parents[1])
    assert (entry.title, entry.verdict, entry.kind) == ("sweep of latency", "4 left", "unknown")
    assert entry.link == f"sweeps/{folder.path.name}/sweep.html"
    assert entry.began.startswith("20")


def test_the_figure_has_a_chart_for_each_metric(tmp_path: Path) -> None:
    axis = (Axis("pops", ("1", "2")),)
    summed = rows.summary(_rows(), axis)
    path = tmp_path / "sweep.png"
    assert figure.draw(summed, axis, path) == path
    assert path.stat().st_size > 5_000
    words = (replace(axis[0], values=("one", "two")),)
    named = summed.assign(pops=["one", "two"])
    assert figure.draw(named, words, path) == path
    assert figure.draw(summed.iloc[:0], axis, path) is None
    assert figure.draw(summed, (), path) is None


def test_the_figure_says_how_many_lines_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheets: list[Figure] = []

    class Kept(Figure):
        def savefig(self, *args: Any, **given: Any) -> None:
            sheets.append(self)

    monkeypatch.setattr(figure, "Figure", Kept)
    one = rows.summary(_rows(), (Axis("pops", ("1", "2")),))
    for lines in (figure.MOST_LINES, figure.MOST_LINES + 2):
        seeds = tuple(map(str, range(lines)))
        many = pd.concat([one.assign(seed=seed) for seed in seeds], ignore_index=True)
        figure.draw(many, (Axis("pops", ("1", "2")), Axis("seed", seeds)), tmp_path / "x.png")
    titles = [sheet.axes[0].get_legend().get_title().get_text() for sheet in sheets]
    assert titles == ["", "and 2 more"]
    assert len(sheets[1].axes[0].get_legend().get_texts()) == figure.MOST_LINES
