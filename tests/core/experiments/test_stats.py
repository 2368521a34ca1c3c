"""Statistics against numbers worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest

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
