"""The few statistics that the studies share."""

from __future__ import annotations

from collections.abc import Sequence
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


def cdf(values: pd.Series[float]) -> tuple[list[float], list[float]]:
    """The empirical distribution as a step line: sorted values, and the share at or below each."""
    ordered = sorted(float(value) for value in values.dropna())
    return ordered, [(n + 1) / len(ordered) for n in range(len(ordered))]


def gini(values: Sequence[float]) -> float | None:
    """How unequal values are: 0 if all are equal, (n - 1)/n if one of n has all; None of nothing.

    Half the mean difference between any two, over the mean.
    """
    mean = sum(values) / len(values) if values else 0
    if not mean:
        return None
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * mean)
