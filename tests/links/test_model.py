"""The parts that need neither root nor a daemon."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topologies.emulation import links
from topologies.emulation.links import (
    Histogram,
    Impairment,
    LinkBackend,
    LinkError,
    choose,
    delayline,
    netem,
    read_trace,
)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"delay_ns": -1}, "delay_ns is -1, not from 0 to one hour"),
        ({"jitter_ns": 4 * 10**12}, "jitter_ns"),
        ({"jitter_distribution": "pareto"}, "not uniform or normal"),
        ({"loss": 1.5}, "loss is 1.5, not a probability"),
        ({"loss": math.nan}, "loss is nan"),
        ({"gemodel": (0.1, -0.1, 1.0, 0.0)}, "r is -0.1"),
        ({"gemodel": (0.1, 0.1, 1.0, 0.0), "loss": 0.1}, "exclude each other"),
        ({"rate_bit_s": 10}, "not from 1 kbit/s"),
        ({"rate_bit_s": 10**6, "trace": (1,)}, "exclude each other"),
        ({"limit_packets": 0}, "limit_packets is 0"),
        ({"reorder_jitter": True}, "needs jitter_ns"),
        ({"trace": ()}, "0 entries"),
        ({"trace": (0, 0)}, "the last of them 1 or more"),
        ({"trace": (5, 4, 6)}, "decreases"),
    ],
)
def test_bad_impairments_are_refused(bad: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Impairment(**bad)


def test_traces_are_read(tmp_path: Path) -> None:
    file = tmp_path / "up.trace"
    file.write_text("0\n5\n5\n12\n")
    assert read_trace(file) == (0, 5, 5, 12)
    file.write_text("0\n5.5\n")
    with pytest.raises(LinkError, match=r"up\.trace:2: '5\.5' is not a number of milliseconds"):
        read_trace(file)
    file.write_text("")
    with pytest.raises(LinkError, match="0 entries"):
        read_trace(file)


def test_percentiles_lie_where_the_values_do() -> None:
    histogram = Histogram(((-2, -1, 10), (0, 10, 80), (100, 200, 10)))
    assert histogram.count == 100
    assert histogram.percentile(0) == -2
    assert histogram.percentile(10) == -1
    assert histogram.percentile(50) == 5
    assert histogram.percentile(95) == 150
    assert histogram.percentile(100) == 200
    assert math.isnan(Histogram().percentile(50))
    with pytest.raises(ValueError, match="percent"):
        histogram.percentile(101)


@given(st.lists(st.integers(-5, 5)), st.lists(st.integers(-5, 5)))
def test_histograms_add_up(a: list[int], b: list[int]) -> None:
    assert _histogram(a) + _histogram(b) == _histogram(a + b)


def _histogram(values: list[int]) -> Histogram:
    return Histogram(tuple((v, v + 1, values.count(v)) for v in sorted(set(values))))


def test_auto_prefers_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayline, "problem", lambda: None)
    monkeypatch.setattr(netem, "problem", lambda: None)
    assert choose() == choose("delayline") == "delayline"
    assert choose("netem") == "netem"
    monkeypatch.setattr(delayline, "problem", lambda: "not built")
    assert choose() == "netem"


def test_no_backend_names_both_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayline, "problem", lambda: "not built")
    monkeypatch.setattr(netem, "problem", lambda: "not in the kernel")
    with pytest.raises(LinkError, match="delayline: not built; netem: not in the kernel"):
        choose()
    with pytest.raises(LinkError, match="netem: not in the kernel"):
        choose("netem")
    with pytest.raises(ValueError, match="'wirefilter'"):
        choose("wirefilter")


def test_a_daemon_that_was_not_built_is_told(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="link daemon not built: run make setup"):
        delayline.DelayLine(binary=tmp_path / "delayline")


def test_backends_keep_the_protocol() -> None:
    """mypy holds the types; this holds the names, docstrings included."""
    public = {name: it for name, it in vars(LinkBackend).items() if not name.startswith("_")}
    methods = [name for name, it in public.items() if callable(it)]
    for backend in (delayline.DelayLine, netem.Netem):
        assert all(hasattr(backend, name) for name in public)
        for name in methods:
            assert callable(getattr(backend, name))
            assert getattr(backend, name).__doc__
        assert backend.name
    assert len(methods) > 8


def test_long_batches_are_split() -> None:
    lines = ["x" * random.Random(1).randrange(1, 30_000) for _ in range(100)]
    batches = list(delayline._batches(lines))
    assert [line for batch in batches for line in batch] == lines
    for batch in batches:
        assert len("\n".join(batch)) <= 64 * 1024


@given(
    st.builds(
        Impairment,
        delay_ns=st.integers(0, links.DELAY_MAX_NS),
        jitter_ns=st.integers(0, links.DELAY_MAX_NS),
        jitter_distribution=st.sampled_from(["uniform", "normal"]),
        loss=st.floats(0, 1),
        duplicate=st.floats(0, 1),
        corrupt=st.floats(0, 1),
        reorder=st.floats(0, 1),
        rate_bit_s=st.none() | st.integers(*links.RATE_RANGE_BIT_S),
        limit_packets=st.none() | st.integers(1, links.LIMIT_MAX_PACKETS),
        blackhole=st.booleans(),
    )
)
def test_words_of_the_protocol_lose_nothing(impairment: Impairment) -> None:
    """Every field is among the words, in full precision."""
    words = dict(word.split("=") for word in delayline._words(impairment))
    assert int(words["delay"]) == impairment.delay_ns
    assert float(words["loss"]) == impairment.loss
    assert float(words["reorder"]) == impairment.reorder
    assert ("rate" in words) == (impairment.rate_bit_s is not None)
    changed = dataclasses.replace(impairment, blackhole=not impairment.blackhole)
    assert list(delayline._words(changed)) != list(delayline._words(impairment))
