"""Statistics against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from experiments import stats


def test_median_and_quantiles_pass_over_what_is_missing() -> None:
    values = pd.Series([1.0, None, 3.0, 5.0])
    assert stats.median(values) == 3.0
    assert stats.quantile(values, 0.25) == 2.0
    assert stats.median(pd.Series([], dtype=float)) is None


def test_each_group_counts_once() -> None:
    frame = pd.DataFrame({"who": ["a"] * 9 + ["b"] + ["c"], "x": [1.0] * 9 + [5.0] + [7.0]})
    assert stats.median_of_medians(frame, "who", "x") == 5.0


def test_share_of_nothing_is_none() -> None:
    assert stats.share(1, 4) == 0.25
    assert stats.share(0, 0) is None


def test_cdf_steps_to_one() -> None:
    values, shares = stats.cdf(pd.Series([3.0, None, 1.0]))
    assert values == [1.0, 3.0]
    assert shares == pytest.approx([0.5, 1.0])


def test_who_has_no_value_counts_among_all() -> None:
    assert stats.cdf(pd.Series([2.0, None, 1.0]), of=4) == ([1.0, 2.0], [0.25, 0.5])


def test_few_trials_have_no_interval_and_say_so() -> None:
    five = stats.estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (five.median, five.low, five.high, five.count) == (3.0, None, None, 5)
    assert str(five) == "3 (too few)"
    assert stats.estimate([None, float("nan")]) == stats.Estimate(None, None, None, 0)


def test_equal_trials_have_an_interval_of_no_width() -> None:
    assert stats.estimate([7.0] * 6) == stats.Estimate(7.0, 7.0, 7.0, 6)


@pytest.mark.parametrize("count", [6, 7, 8, 9, 10, 30])
@pytest.mark.parametrize("kind", ["normal", "exponential", "lognormal"])
def test_intervals_hold_the_true_median_as_often_as_they_say(kind: str, count: int) -> None:
    chance = np.random.default_rng(count)
    draw = {
        "normal": (chance.normal, 0.0),
        "exponential": (chance.exponential, math.log(2)),
        "lognormal": (chance.lognormal, 1.0),
    }
    sample, truth = draw[kind]
    intervals = [stats.estimate(list(sample(size=count))) for _ in range(400)]
    held = sum(x.low <= truth <= x.high for x in intervals if x.low is not None)  # type: ignore[operator]
    low = binom.ppf(0.001, len(intervals), stats.CONFIDENCE)
    assert low <= held <= len(intervals)


@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (20, 6)])
def test_an_interval_reaches_as_far_in_as_the_binomial_allows(count: int, rank: int) -> None:
    found = stats.estimate([float(n) for n in range(1, count + 1)])
    assert (found.low, found.high) == (rank, count + 1 - rank)
    outside = [2 * binom.cdf(k - 1, count, 0.5) for k in (rank, rank + 1)]
    assert outside[0] <= 1 - stats.CONFIDENCE < outside[1]


def test_an_effect_is_of_pairs_and_between_all() -> None:
    baseline = {seed: 10.0 * seed for seed in range(1, 9)}
    ours = {seed: value + 1.0 for seed, value in baseline.items()}
    found = stats.effect(ours, baseline)
    assert found.difference == stats.Estimate(1.0, 1.0, 1.0, 8)  # although arms overlap widely
    assert found.superiority == pytest.approx((28 + 8) / 64)
    assert stats.effect({1: 1.0}, {2: 0.0}).difference.count == 0
    assert stats.effect({1: 5.0}, {1: 1.0}).superiority == 1.0
    assert stats.effect({1: None}, {1: 1.0}).superiority is None
