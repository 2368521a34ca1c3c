"""Load by address and the time to leave one, in closed form: names, popularity, caches.

Names are asked for by Zipf's law. A binding at random gives each query an address of its own, so
loads are multinomial; by hash an address has the popularity of its names. A cache of time-to-live T
that is asked at the times of a Poisson process of rate l is empty for 1/l after each T (Jung,
Berger, Balakrishnan, "Modeling TTL-based Internet caches", INFOCOM 2003).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import accumulate

from topologies.hashing import hashed


def popularity(names: int, exponent: float) -> list[float]:
    """The share of all visits that each name has, the most popular first (Zipf)."""
    weights = [1 / rank**exponent for rank in range(1, names + 1)]
    whole = sum(weights)
    return [weight / whole for weight in weights]


def named(number: int, zone: str) -> str:
    """The name with a rank, from 0 on."""
    return f"www{number}.{zone}"


def addresses(services: Sequence[IPv4Address], count: int) -> tuple[IPv4Address, ...]:
    """The first service addresses in numerical order, which an arm binds names to."""
    return tuple(sorted(services)[:count])


# -- load by address


def deviation(loads: Sequence[int]) -> float:
    """How far loads are from even, in standard deviations of chance alone.

    Pearson's sum of squares over equal cells has mean A - 1 and variance 2 (A - 1)(1 - 1/n),
    exactly, for n visits to A addresses each drawn alike.
    """
    cells, visits = len(loads), sum(loads)
    if cells < 2 or visits < 2:
        return math.nan
    mean = visits / cells
    squares = sum((load - mean) ** 2 for load in loads) / mean
    return (squares - (cells - 1)) / math.sqrt(2 * (cells - 1) * (1 - 1 / visits))


def busiest_of_random(visits: int, cells: int) -> float:
    """The expected load of the busiest address over the mean, if each visit draws alike.

    By independent Poisson loads of the same mean: true of many visits.
    """
    import numpy as np
    from scipy.special import pdtr

    mean = visits / cells
    below = pdtr(np.arange(visits), mean)
    return float((1 - below**cells).sum() / mean)


def hashed_shares(shares: Sequence[float], zone: str, cells: int) -> list[float]:
    """By address: the popularity of all names that the hash puts there."""
    found = [0.0] * cells
    for number, share in enumerate(shares):
        found[place(named(number, zone), cells)] += share
    return found


def place(name: str, cells: int) -> int:
    """Which of the addresses a name has by hash."""
    return hashed(name) % cells


# -- leaving an address


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model says of a visit: by what it finds its way, and whether to the old address."""

    asked: bool
    opened: bool
    old: bool


def follow(
    times_s: Sequence[float], left_s: float, ttl_s: float, hold_s: float, moved_s: float
) -> Iterator[Seen]:
    """The visits of one host to one name, at these times: asked the DNS, opened, to the old?

    The cache begins with an answer for ``left_s``; answers name another address from ``moved_s``
    on. Round trips are taken to be nothing.
    """
    cached_s, cached_old = left_s, True
    open_s, open_old = -math.inf, False
    for at_s in times_s:
        if at_s < open_s:
            yield Seen(asked=False, opened=False, old=open_old)
            continue
        asked = at_s >= cached_s
        if asked:
            cached_s, cached_old = at_s + ttl_s, at_s < moved_s
        if hold_s:
            open_s, open_old = at_s + hold_s, cached_old
        yield Seen(asked, opened=True, old=cached_old)


def cached(rate_s: float, ttl_s: float) -> float:
    """The chance that a cache has an answer, asked at this rate; then what is left is uniform."""
    return rate_s * ttl_s / (1 + rate_s * ttl_s)


def primed(rates_s: Sequence[float], ttl_s: float, chance: random.Random) -> list[float]:
    """What is left of each cached answer, s, at a moment of the steady state; 0: there is none."""
    return [
        chance.uniform(0, ttl_s) if chance.random() < cached(rate, ttl_s) else 0.0
        for rate in rates_s
    ]


def questions(rates_s: Sequence[float], ttl_s: float, seconds: float) -> float:
    """How many questions reach the DNS in so long, on average."""
    return sum(rate * seconds / (1 + rate * ttl_s) for rate in rates_s)


def late(rates_s: Sequence[float], ttl_s: float) -> tuple[float, float]:
    """Visits to an address after it has left the DNS: mean and standard deviation."""
    mean = variance = 0.0
    for rate in rates_s:
        kept, most = cached(rate, ttl_s), rate * ttl_s
        mine = kept * most / 2
        mean += mine
        variance += mine + kept * most**2 / 3 - mine**2
    return mean, math.sqrt(variance)


def left_by(rates_s: Sequence[float], ttl_s: float, at_s: float) -> float:
    """The chance that nobody visits an address any more ``at_s`` after it has left the DNS."""
    rest = max(ttl_s - at_s, 0.0)
    chance = 1.0
    for rate in rates_s:
        chance *= 1 - cached(rate, ttl_s) / ttl_s * (rest + math.expm1(-rate * rest) / rate)
    return chance


def schedule(
    rates_s: Sequence[float], seconds: float, chance: random.Random
) -> list[tuple[float, int]]:
    """A Poisson process of all rates together: when, and which of them, in order of time."""
    total, sums = sum(rates_s), list(accumulate(rates_s))
    found, at_s = [], chance.expovariate(total)
    while at_s < seconds:
        (which,) = chance.choices(range(len(rates_s)), cum_weights=sums)
        found.append((at_s, which))
        at_s += chance.expovariate(total)
    return found


def late_share(rates_s: Sequence[float], ttl_s: float, at_s: float) -> float:
    """The share of all visits that goes to an address ``at_s`` after it has left the DNS."""
    rest = max(ttl_s - at_s, 0.0) / ttl_s
    return sum(rate * cached(rate, ttl_s) for rate in rates_s) * rest / sum(rates_s)
