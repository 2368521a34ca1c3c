"""What the trials of a sweep found, as tidy rows, and what they say together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import stats
from experiments.stats import Estimate
from experiments.sweeps.axes import Axis
from experiments.sweeps.design import Turn, arms
from experiments.sweeps.folder import SweepFolder
from experiments.verdict.result import Result

if TYPE_CHECKING:
    import pandas as pd

FAILED = "failed"
"""The verdict of a trial that gave no answer."""


def trials(folder: SweepFolder) -> pd.DataFrame:
    """A row per trial that is over and metric of it.

    Columns: the axes, ``trial``, ``repetition``, ``seed``, ``verdict``, ``metric``, ``unit``,
    ``value``. One that failed has a row without a metric.
    """
    import pandas as pd

    names = [axis.name for axis in folder.sweep.axes]
    columns = [*names, "trial", "repetition", "seed", "verdict", "metric", "unit", "value"]
    return pd.DataFrame(list(_rows(folder)), columns=columns)


def _rows(folder: SweepFolder) -> Iterator[dict[str, Any]]:
    for turn in folder.sweep.turns:
        told = {"trial": turn.name, "repetition": turn.repetition, "seed": turn.seed}
        whose = dict(turn.arm) | told
        if folder.run(turn).exists():
            yield from _found(whose, folder.result(turn))
        elif folder.failure(turn) is not None:
            yield whose | {"verdict": FAILED}


def _found(whose: dict[str, Any], result: Result) -> Iterator[dict[str, Any]]:
    for name, metric in result.metrics.items():
        found = {"metric": name, "unit": metric.unit, "value": metric.value}
        yield whose | {"verdict": result.verdict} | found


def summary(rows: pd.DataFrame, axes: Sequence[Axis]) -> pd.DataFrame:
    """A row per arm and metric: the median over its valid trials with a 95 % interval.

    Columns: the axes, ``metric``, ``unit``, ``trials`` that were valid, ``median``, ``low``,
    ``high`` (empty where the trials are too few, see ``stats.FEWEST``), and against the first arm,
    in pairs of equal seeds, ``difference``, ``difference_low``, ``difference_high``, and
    ``superiority`` (``stats.Effect``).
    """
    import pandas as pd

    names = [axis.name for axis in axes]
    effects = ["difference", "difference_low", "difference_high", "superiority"]
    columns = [*names, "metric", "unit", "trials", "median", "low", "high", *effects]
    valid = rows[rows["verdict"] == "valid"]
    return pd.DataFrame(list(_summed(valid, axes)), columns=columns)


def _summed(valid: pd.DataFrame, axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    all_arms = arms(axes)
    units = dict(zip(valid["metric"], valid["unit"], strict=True))
    for metric, unit in units.items():
        mine = valid[valid["metric"] == metric]
        baseline = _by_seed(mine, all_arms[0].items())
        for arm in all_arms:
            found = _by_seed(mine, arm.items())
            middle, against = stats.estimate(list(found.values())), stats.effect(found, baseline)
            apart = against.difference
            yield {
                **arm,
                "metric": metric,
                "unit": unit,
                "trials": middle.count,
                "median": middle.median,
                "low": middle.low,
                "high": middle.high,
                "difference": apart.median,
                "difference_low": apart.low,
                "difference_high": apart.high,
                "superiority": against.superiority,
            }


def estimate(row: Mapping[Hashable, Any]) -> Estimate:
    """What a row of a summary says of its arm."""
    return _estimate(row, "median", "low", "high")


def difference(row: Mapping[Hashable, Any]) -> Estimate:
    """What a row of a summary says against the first arm."""
    return _estimate(row, "difference", "difference_low", "difference_high")


def _estimate(row: Mapping[Hashable, Any], *columns: str) -> Estimate:
    import pandas as pd

    told = [None if pd.isna(row[column]) else float(row[column]) for column in columns]
    return Estimate(told[0], told[1], told[2], int(row["trials"]))


def _by_seed(rows: pd.DataFrame, arm: Iterable[tuple[str, Any]]) -> dict[int, float | None]:
    import pandas as pd

    for name, value in arm:
        rows = rows[rows[name] == value]
    values = pd.to_numeric(rows["value"], errors="coerce")
    return {int(seed): stats.known(x) for seed, x in zip(rows["seed"], values, strict=True)}


def turns_by_verdict(folder: SweepFolder) -> dict[str, list[Turn]]:
    """The trials by ``valid``, ``invalid``, ``unknown``, ``failed``, and ``left`` to be done."""
    found: dict[str, list[Turn]] = {}
    for turn in folder.sweep.turns:
        if folder.run(turn).exists():
            verdict: str = folder.result(turn).verdict
        else:
            verdict = "left" if folder.failure(turn) is None else FAILED
        found.setdefault(verdict, []).append(turn)
    return found
