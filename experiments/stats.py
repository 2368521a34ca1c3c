"""The few statistics that the studies share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def quantile(values: pd.Series[float], q: float) -> float | None:
    """The ``q`` quantile (0 to 1, linear between samples) of what is there; None of nothing."""
    present = values.dropna()
    return float(present.quantile(q)) if len(present) else None


def median(values: pd.Series[float]) -> float | None:
    """The median of what is there; None of nothing."""
    return quantile(values, 0.5)


def median_of_medians(frame: pd.DataFrame, by: str, column: str) -> float | None:
    """The median over groups of each group's median, so that every group counts once."""
    return median(frame.groupby(by)[column].median())


def share(true: int, total: int) -> float | None:
    """A part of a whole, 0 to 1; None of nothing."""
    return true / total if total else None


def known(value: float | None) -> float | None:
    """A number that a table has; None if it has none there (NaN)."""
    return None if value is None or value != value else float(value)


def cdf(values: pd.Series[float], of: int | None = None) -> tuple[list[float], list[float]]:
    """The empirical distribution as a step line: sorted values, and the share at or below each.

    It is the share of all that there are, or of ``of``, some of which have no value.
    """
    ordered = sorted(float(value) for value in values.dropna())
    total = len(ordered) if of is None else of
    return ordered, [(n + 1) / total for n in range(len(ordered))]


def gini(values: Sequence[float]) -> float | None:
    """How unequal values are: 0 if all are equal, (n - 1)/n if one of n has all; None of nothing.

    Half the mean difference between any two, over the mean.
    """
    mean = sum(values) / len(values) if values else 0
    if not mean:
        return None
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * mean)


CONFIDENCE = 0.95

FEWEST = 6
"""Of fewer values no distribution-free 95 % interval of the median exists: all of five are on one
side of it once in sixteen times (H. A. David, Order Statistics, section 7.1).
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The median of ``count`` trials and its 95 % interval; None where they are too few for one."""

    median: float | None
    low: float | None
    high: float | None
    count: int

    def __str__(self) -> str:
        """As people write it; ``too few`` trials for an interval."""
        if self.median is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.median:.4g} (too few)"
        return f"{self.median:.4g} [{self.low:.4g}, {self.high:.4g}]"


def estimate(trials: Sequence[float | None]) -> Estimate:
    """The median over trials, and an interval that has it in 95 of 100 cases or more.

    It reaches from the k-th value from below to the k-th from above (``_rank``), whatever the
    distribution (H. A. David, Order Statistics, section 7.1). One value for each trial, never for
    each packet: packets of one trial share its luck. What is missing is left out.
    """
    values = [float(value) for value in trials if value is not None and math.isfinite(value)]
    if not values:
        return Estimate(None, None, None, 0)
    middle = statistics.median(values)
    if len(values) < FEWEST:
        return Estimate(middle, None, None, len(values))
    rank = _rank(len(values))
    ordered = sorted(values)
    return Estimate(middle, ordered[rank - 1], ordered[-rank], len(values))


def _rank(count: int) -> int:
    """The largest k for which both tails are beyond the k-th values in 5 % of cases or fewer.

    The median is below the k-th of ``count`` values if fewer than k of them fall below it, each
    with a chance of one half.
    """
    rank, tail = 0, 0
    while 2 * (tail := tail + math.comb(count, rank)) <= (1 - CONFIDENCE) * 2**count:
        rank += 1
    return rank


@dataclass(frozen=True, slots=True)
class Effect:
    """How two arms differ.

    ``difference`` is of pairs that share a seed, ours minus the baseline's. ``superiority`` is the
    chance that a trial of ours is above one of the baseline's, ties counting half: 0.5 if there is
    no difference, 0 or 1 if they do not overlap (Vargha and Delaney's A, 2000).
    """

    difference: Estimate
    superiority: float | None


def effect(ours: Mapping[int, float | None], baseline: Mapping[int, float | None]) -> Effect:
    """Compare two arms, given by seed."""
    pairs = [(ours[seed], baseline[seed]) for seed in ours if seed in baseline]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    ups = [_above(a, b) for a in ours.values() for b in baseline.values()]
    told = [up for up in ups if up is not None]
    return Effect(estimate(differences), statistics.fmean(told) if told else None)


def _above(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 0.5 if a == b else float(a > b)
