"""A sweep from beginning to end: every spec first, then the trials, then what they say together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.options import family_of
from experiments.runs import fingerprint, runfolder, runner
from experiments.runs.spec import Spec
from experiments.study import study
from experiments.sweeps import axes, design, fleet, rows
from experiments.sweeps.axes import ASKED, Arm
from experiments.sweeps.design import MOST_TRIALS, Turn
from experiments.sweeps.fleet import Outcome
from experiments.sweeps.folder import FIGURE, PAGE, SweepFolder
from topologies.emulation.sandbox import sandbox

if TYPE_CHECKING:
    from distributed import Client

Watch = Callable[[Turn, Outcome], None]
"""Told of each trial that is over, once its run is in the folder."""


def prepare(
    name: str,
    words: Sequence[str],
    *,
    repeat: int = 1,
    seed: int = 1,
    results: Path | None = None,
    said: Collection[str] = (),
    **asked: Any,
) -> SweepFolder:
    """Describe every trial of a sweep in a folder of its own; nothing is run.

    ``words`` are axes (``experiments.sweeps.axes``), ``asked`` is what ``runner.make_spec`` takes;
    ``said`` names what of it somebody has said, so that it cannot be varied as well.
    Raises UsageError and NetworkError as that does, for any of the trials.
    """
    varied = axes.parse(study(name), words)
    fixed = {key for key in ("pops", "steering", "upstream") if asked.get(key) is not None}
    fixed.update(asked.get("params") or (), said)
    for axis in varied:
        if axis.name in fixed:
            raise UsageError(f"{axis.name} is varied, and given as well: leave one of them out.")
    turns = design.turns(varied, repeat, seed)
    if not 0 < len(turns) <= MOST_TRIALS:
        raise UsageError(f"{len(turns):,} trials are no sweep: ask for 1 to {MOST_TRIALS:,}.")
    specs = [(turn, _spec(name, turn, asked)) for turn in turns]
    return SweepFolder.create(runfolder.root(results), name, varied, specs)


def _spec(name: str, turn: Turn, asked: Mapping[str, Any]) -> Spec:
    options = dict(asked) | {key: value for key, value in turn.arm.items() if key in ASKED}
    if "family" in turn.arm:
        options["family"] = family_of(_whole(turn.arm))
    params = {key: value for key, value in turn.arm.items() if key not in ASKED}
    options["params"] = dict(asked.get("params") or {}) | params
    return runner.make_spec(name, seed=turn.seed, **options)


def _whole(arm: Arm) -> int:
    word = str(arm["family"])
    return int(word) if word.isdecimal() else 0


def cluster(
    folder: SweepFolder, scheduler: str | None, labs: int | None
) -> AbstractContextManager[Client]:
    """Who does a sweep's trials: the scheduler's fleet, or worker processes on this machine.

    Raises UsageError, and here NoSandboxError where this machine can make no lab.
    """
    if scheduler is not None:
        return fleet.at(scheduler)
    arms = {str(turn.arm): turn for turn in folder.left()}
    asked = {Spec.parse_text(folder.spec(turn)).options for turn in arms.values()}
    for options in asked:
        sandbox(options).check(folder.path)
    fewest = min(fleet.labs_here(options.clock) for options in asked)
    return fleet.here(labs or fewest)


def carry_on(
    folder: SweepFolder,
    client: Client,
    watch: Watch = lambda _turn, _outcome: None,
    *,
    program: fleet.Perform = fleet.perform,
    idle: Callable[[], None] = lambda: None,
) -> None:
    """Do the trials that are not complete; each is kept as soon as it is over."""
    left = {turn.name: turn for turn in folder.left()}

    def done(name: str, outcome: Outcome) -> None:
        if outcome.archive is None:
            folder.keep_failure(left[name], outcome.cause)
        else:
            folder.keep(left[name], outcome.archive)
        watch(left[name], outcome)

    specs = {name: folder.spec(turn) for name, turn in left.items()}
    fleet.run_all(client, specs, fingerprint.code(), done, program=program, idle=idle)


def conclude(folder: SweepFolder) -> Mapping[str, list[Turn]]:
    """Write ``trials.csv``, ``summary.csv``, the figure and the page of what is complete.

    Returns the trials by their verdict, as ``rows.turns_by_verdict``.
    """
    from experiments.show.figures import sweep as figure
    from experiments.show.page import sweep as page

    found = rows.trials(folder)
    summed = rows.summary(found, folder.sweep.axes)
    found.to_csv(folder.path / "trials.csv", index=False)
    summed.to_csv(folder.path / "summary.csv", index=False)
    figure.draw(summed, folder.sweep.axes, folder.path / FIGURE)
    by_verdict = rows.turns_by_verdict(folder)
    (folder.path / PAGE).write_text(page.render(folder, summed, by_verdict), encoding="utf-8")
    return by_verdict
