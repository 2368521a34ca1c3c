"""The token bucket: bursts pass, floods do not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.core.tokens import TokenBucket


def test_a_burst_passes_and_then_the_rate() -> None:
    bucket = TokenBucket(rate_per_s=8, burst=20)
    assert [bucket.take(5.0) for _ in range(21)] == [True] * 20 + [False]
    assert [bucket.take(5.0 + turn / 16) for turn in range(1, 5)] == [False, True, False, True]
    assert sum(bucket.take(1000.0) for _ in range(100)) == 20


@given(st.lists(st.floats(0, 1), max_size=200))
def test_no_window_sees_more_than_the_burst_and_the_rate(pauses: list[float]) -> None:
    bucket, now = TokenBucket(rate_per_s=3, burst=5), 7.0
    allowed = []
    for pause in pauses:
        now += pause
        if bucket.take(now):
            allowed.append(now)
    for number, begin in enumerate(allowed):
        for count, end in enumerate(allowed[number:], 1):
            assert count <= 5 + 3 * (end - begin) + 1e-6
