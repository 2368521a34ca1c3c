"""When requests come: even, by chance (a Poisson process), or as in a trace. Pure.

Each schedule is an endless series of times, seconds from the start, that never decreases.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, pvariance

__all__ = ["dispersion", "even", "poisson", "traced", "within"]


def even(rate: float) -> Iterator[float]:
    """``rate`` arrivals a second, all gaps alike; the first comes at once."""
    return (number / rate for number in itertools.count())


def poisson(rate: float, chance: random.Random) -> Iterator[float]:
    """A Poisson process: ``rate`` arrivals a second on average, its gaps are exponential."""
    at_s = 0.0
    while True:
        at_s += chance.expovariate(rate)
        yield at_s


def traced(gaps_s: Sequence[float]) -> Iterator[float]:
    """The gaps of a trace, over and over; the first arrival comes after the first gap.

    Raises ValueError if time would stand still.
    """
    if min(gaps_s, default=0.0) < 0 or sum(gaps_s) <= 0:
        raise ValueError(f"the gaps {list(gaps_s)} do not add up to more than 0 s")
    return itertools.accumulate(itertools.cycle(gaps_s))


def within(seconds: float, times: Iterable[float]) -> Iterator[float]:
    """The arrivals of the first so many seconds."""
    return itertools.takewhile(lambda at_s: at_s < seconds, times)


def dispersion(times: Iterable[float], seconds: float, window_s: float) -> float | None:
    """Variance over mean of the counts in whole windows: 1 of a Poisson process, 0 of an even one.

    It is the index of dispersion (Cox and Lewis, 1966); None if nothing came.
    """
    windows = int(seconds / window_s)
    found = Counter(int(at_s / window_s) for at_s in times)
    counts = [found[window] for window in range(windows)]
    mean = fmean(counts) if counts else 0.0
    return pvariance(counts) / mean if mean else None
