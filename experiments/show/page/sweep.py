"""The page of a sweep: what its trials say together, and how they were made."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from experiments import study
from experiments.runs import runfolder
from experiments.runs.spec import Spec
from experiments.show.page import pictures, recipe
from experiments.show.page.markup import fill
from experiments.stats import FEWEST
from experiments.sweeps import rows
from experiments.sweeps.axes import Axis
from experiments.sweeps.design import Turn
from experiments.sweeps.folder import FIGURE, SweepFolder

if TYPE_CHECKING:
    import pandas as pd

KINDS = {"valid": "valid", "invalid": "invalid", rows.FAILED: "invalid"}
"""How verdicts look; others are unknown."""


@dataclass(frozen=True, slots=True)
class Line:
    """An arm's figures for one metric, in words."""

    arm: str
    trials: int
    median: str
    difference: str
    superiority: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric over all arms; ``varies`` says whether they differ."""

    metric: str
    unit: str
    varies: bool
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial: ``link`` is its page, empty without one; ``cause`` is why it gave no answer."""

    name: str
    arm: str
    verdict: str
    kind: str
    link: str
    cause: str


def render(
    folder: SweepFolder, summary: pd.DataFrame, by_verdict: Mapping[str, Sequence[Turn]]
) -> str:
    """The page of what is complete; ``summary`` and ``by_verdict`` are those of ``rows``.

    Raises UsageError for a study that is gone.
    """
    sweep = folder.sweep
    found = list(compared(summary, sweep.axes))
    first = Spec.parse_text(folder.spec(sweep.turns[0]))
    return fill(
        "sweep.html",
        study=study.study(sweep.study),
        axes=[(axis.name, ", ".join(map(str, axis.values))) for axis in sweep.axes],
        answer=answer(found),
        counts={verdict: len(turns) for verdict, turns in by_verdict.items()},
        kind="valid" if set(by_verdict) == {"valid"} else "unknown",
        compared=sorted(found, key=lambda one: not one.varies),
        fewest=FEWEST,
        pictures=pictures.pictures(folder.path.glob(FIGURE), sweep.study),
        trials=[_trial(folder, turn, which) for which, mine in by_verdict.items() for turn in mine],
        command=recipe.recipe(first).command,
        first=sweep.turns[0].name,
        name=folder.path.name,
    )


def compared(summary: pd.DataFrame, axes: Sequence[Axis]) -> Iterator[Compared]:
    """Every metric, arm by arm, in the order of the summary."""
    names = [axis.name for axis in axes]
    for metric, mine in summary.groupby("metric", sort=False):
        unit = str(mine["unit"].iloc[0])
        yield Compared(
            str(metric),
            "" if unit == "1" else unit,
            mine["median"].nunique() > 1,
            tuple(_line(row, names) for row in mine.to_dict("records")),
        )


def _line(row: Mapping[Hashable, Any], names: Sequence[str]) -> Line:
    import pandas as pd

    superiority = row["superiority"]
    return Line(
        ", ".join(f"{name} {row[name]}" for name in names) or "all trials",
        int(row["trials"]),
        str(rows.estimate(row)),
        str(rows.difference(row)),
        "-" if pd.isna(superiority) else f"{superiority:.2f}",
    )


def answer(found: Sequence[Compared]) -> str:
    """What is most worth saying: the first metric, at its first arm and at its last."""
    varied = [one for one in found if one.varies] or list(found)
    if not varied:
        return "No trial is valid, so there is nothing to say."
    one = varied[0]
    first, last = one.lines[0], one.lines[-1]
    said = f"{one.metric}: {_with_unit(first.median, one.unit)} with {first.arm}"
    if last is first:
        return f"{said}, over {first.trials} trials."
    there, apart = (_with_unit(told, one.unit) for told in (last.median, last.difference))
    return f"{said}, {there} with {last.arm}; the difference is {apart} in pairs of equal seeds."


def _with_unit(told: str, unit: str) -> str:
    return f"{told} {unit}".rstrip()


def _trial(folder: SweepFolder, turn: Turn, verdict: str) -> Trial:
    page = folder.run(turn) / runfolder.PAGE
    link = quote(page.relative_to(folder.path).as_posix()) if page.exists() else ""
    arm = ", ".join(f"{name} {value}" for name, value in turn.arm.items())
    cause = (folder.failure(turn) or "").strip().splitlines()
    kind = KINDS.get(verdict, "unknown")
    return Trial(turn.name, arm, verdict, kind, link, cause[-1] if cause else "")
