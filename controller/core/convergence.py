"""How long cities take to hear of a change, as on the Internet: BGP is not told, it converges.

A city has its place in a log-normal distribution once and for all, so equal networks converge
equally. With a median of 5.5 s four of five cities have followed within 10 s and the slowest
hundredth takes over 28 s, which is what anycast experiments see (ANRW 2024: 80 % of the Internet
within about 10 s, and a long tail).
"""

from __future__ import annotations

from math import exp
from statistics import NormalDist

from topologies.hashing import chance

SIGMA = 0.7
"""Of the delay's logarithm."""


def delay_ns(city: str, median_ns: int) -> int:
    """How long after a change a city follows it, when half of the cities take ``median_ns``."""
    place = NormalDist().inv_cdf(chance(city))
    return round(median_ns * exp(SIGMA * place))
