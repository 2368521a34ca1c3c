"""The times of a study by arm: how they are distributed, in no more points than a page can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.verdict.truth import Timed

if TYPE_CHECKING:
    import pandas as pd

MOST_POINTS = 2001
"""A distribution of more times is thinned to so many of them, evenly by rank."""

LEVELS = (0.05, 0.5, 0.95, 0.99)
"""The quantiles that are written out."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The round-trip times of one arm, ms.

    ``counted`` times are behind it; of ``values`` (ascending) each has ``shares`` of them at or
    below. These are all of the times, or some of them if they are ``thinned``, the least and the
    most among them.
    """

    arm: str
    counted: int
    values: Sequence[float]
    shares: Sequence[float]
    quantiles: Sequence[float]
    """Those of ``LEVELS``."""

    @property
    def thinned(self) -> bool:
        """Whether some of the times were left out."""
        return len(self.values) < self.counted

    @property
    def least(self) -> float:
        """The shortest time, ms."""
        return self.values[0]

    @property
    def most(self) -> float:
        """The longest time, ms."""
        return self.values[-1]


def by_arm(timed: Timed, samples: pd.DataFrame) -> list[Distribution]:
    """A distribution for each arm that was answered, in the order in which they came."""
    import pandas as pd

    counts = timed.counting(samples)
    codes, names = pd.factorize(samples[timed.arm][counts])
    times = samples["rtt_ms"][counts].to_numpy(float)
    return [distribution(str(name), times[codes == code]) for code, name in enumerate(names)]


def distribution(arm: str, times_ms: Sequence[float] | np.ndarray) -> Distribution:
    """The distribution of some times; there is at least one."""
    ordered = np.sort(np.asarray(times_ms, float))
    count = len(ordered)
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))
    return Distribution(
        arm,
        count,
        ordered[kept].tolist(),
        ((kept + 1) / count).tolist(),
        np.quantile(ordered, LEVELS).tolist(),
    )
