"""Rates from counters that are read now and then."""

from __future__ import annotations

from typing import Any

from experiments.live.traffic import Meter


def said(**counts: int) -> list[dict[str, Any]]:
    return [
        {"link": name, "ways": [{"bytes": count}, {"bytes": 0}]} for name, count in counts.items()
    ]


def test_a_rate_is_what_came_in_the_last_second() -> None:
    meter = Meter()
    assert meter.rates(0.0, said(a=0, b=7)) == {}
    assert meter.rates(0.5, said(a=1000, b=7)) == {"a": 16_000}
    assert meter.rates(1.0, said(a=1000, b=7)) == {"a": 8_000}
    assert meter.rates(1.5, said(a=1000, b=7)) == {}
    assert meter.rates(2.0, said(a=126_543, b=7)) == {"a": 1_000_000}


def test_after_a_pause_it_is_the_mean_over_the_pause() -> None:
    meter = Meter()
    meter.rates(0.0, said(a=0))
    assert meter.rates(100.0, said(a=1250)) == {"a": 100}


def test_counters_that_begin_anew_and_links_that_come_are_no_traffic() -> None:
    meter = Meter()
    meter.rates(0.0, said(a=5000))
    assert meter.rates(1.0, said(a=10, b=900)) == {}
    assert meter.rates(1.0, said(a=10, b=900)) == {}


def test_both_ways_count() -> None:
    meter = Meter()
    meter.rates(0.0, [{"link": "a", "ways": [{"bytes": 0}, {"bytes": 0}]}])
    ways = [{"bytes": 500}, {"bytes": 750}]
    assert meter.rates(1.0, [{"link": "a", "ways": ways}]) == {"a": 10_000}
