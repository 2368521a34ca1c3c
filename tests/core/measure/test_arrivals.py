"""Schedules of arrivals: even, by chance, from a trace; and how they scatter."""

from __future__ import annotations

import random
from itertools import islice, pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.measure import arrivals

RATES = st.floats(0.1, 1e4)
GAPS = st.lists(st.floats(0, 10), min_size=1, max_size=8).filter(lambda gaps: sum(gaps) > 0.001)


@given(RATES, st.integers(1, 200))
def test_even_arrivals_keep_their_distance(rate: float, count: int) -> None:
    times = list(islice(arrivals.even(rate), count))
    assert times[0] == 0
    assert all(b - a == pytest.approx(1 / rate, rel=1e-6) for a, b in pairwise(times))


@given(RATES, st.integers(0, 2**32))
def test_chance_is_the_seed_s(rate: float, seed: int) -> None:
    one, again, other = (
        list(islice(arrivals.poisson(rate, random.Random(chance)), 20))
        for chance in (seed, seed, seed + 1)
    )
    assert one == again != other
    assert all(a <= b for a, b in pairwise([0.0, *one]))


@given(GAPS)
def test_a_trace_comes_again_and_again(gaps: list[float]) -> None:
    times = list(islice(arrivals.traced(gaps), 3 * len(gaps)))
    assert times[0] == gaps[0]
    assert times[-1] == pytest.approx(3 * sum(gaps))
    found = [b - a for a, b in pairwise([0.0, *times])]
    assert found == pytest.approx(3 * gaps, abs=1e-6)


@pytest.mark.parametrize("gaps", [[], [0, 0], [1, -1, 2]])
def test_a_trace_takes_time(gaps: list[float]) -> None:
    with pytest.raises(ValueError, match="do not add up"):
        arrivals.traced(gaps)


@given(RATES, st.floats(0, 0.01))
def test_nothing_comes_after_the_end(rate: float, seconds: float) -> None:
    times = list(arrivals.within(seconds, arrivals.even(rate)))
    assert all(at_s < seconds for at_s in times)
    assert len(times) == pytest.approx(rate * seconds, abs=1)


def test_a_poisson_process_has_its_rate_and_scatters_as_chance_has_it() -> None:
    times = list(arrivals.within(100, arrivals.poisson(200, random.Random(1))))
    assert len(times) == pytest.approx(20_000, abs=4 * 20_000**0.5)
    windows = 1000
    found = arrivals.dispersion(times, 100, 0.1)
    assert found == pytest.approx(1, abs=4 * (2 / (windows - 1)) ** 0.5)
    gaps = [b - a for a, b in pairwise(times)]
    assert fmean(gap > 1 / 200 for gap in gaps) == pytest.approx(0.368, abs=0.02)


def test_dispersion_is_variance_over_mean() -> None:
    assert arrivals.dispersion([0.5, 1.5, 2.5, 3.5], 4, 1) == 0
    assert arrivals.dispersion([0.1, 0.2, 2.1, 2.2], 4, 1) == 1  # counts 2, 0, 2, 0
    assert arrivals.dispersion([], 4, 1) is None
    assert arrivals.dispersion([9.0], 4, 1) is None  # what comes later does not count
