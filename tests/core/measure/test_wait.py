from __future__ import annotations

import time

import pytest

from experiments.measure.wait import until


def test_returns_what_the_predicate_gave_as_soon_as_it_is_true():
    answers = iter([0, "", None, ["ready"]])
    assert until(lambda: next(answers), 5, "the answer", interval_s=0.001) == ["ready"]


def test_names_what_was_awaited_and_the_last_value():
    with pytest.raises(TimeoutError, match=r"waited 0.01 s for all leases; the last value was 0"):
        until(lambda: 0, 0.01, "all leases", interval_s=0.001)


def test_asks_at_least_once_even_without_time():
    assert until(lambda: True, 0, "anything")


def test_asks_once_more_after_the_deadline():
    born = time.monotonic()
    assert until(lambda: time.monotonic() - born >= 0.05, 0.05, "the end", interval_s=10)


def test_tolerated_errors_are_not_yet_and_other_errors_pass():
    def refuse() -> bool:
        raise ConnectionRefusedError("closed")

    with pytest.raises(TimeoutError, match="ConnectionRefusedError") as caught:
        until(refuse, 0.01, "the door", interval_s=0.001, tolerate=(OSError,))
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    with pytest.raises(ConnectionRefusedError):
        until(refuse, 0.01, "the door")
