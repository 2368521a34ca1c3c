"""When a barrage sends: by chance, at the rates asked for, and the same by the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import fmean, pstdev

import pytest

from experiments.measure.barrage import poisson


def test_each_sends_at_its_rate() -> None:
    counts = Counter(host for _, host in poisson({"a": 300, "b": 100}, 50, seed=1))
    assert counts["a"] == pytest.approx(15000, abs=4 * 15000**0.5)
    assert counts["b"] == pytest.approx(5000, abs=4 * 5000**0.5)


def test_gaps_are_exponential() -> None:
    times = [at for at, _ in poisson({"a": 400}, 50, seed=2)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times == sorted(times)
    assert times[0] > 0
    assert times[-1] < 50
    assert fmean(gaps) == pytest.approx(1 / 400, rel=0.03)
    assert pstdev(gaps) == pytest.approx(1 / 400, rel=0.05)


def test_the_seed_decides() -> None:
    one, again, other = (list(poisson({"a": 9, "b": 9}, 5, seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_nobody_sends_nothing() -> None:
    assert list(poisson({}, 5, seed=1)) == []
