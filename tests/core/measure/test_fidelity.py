from __future__ import annotations

from ipaddress import IPv4Address

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.measure.echo import EchoRow
from experiments.measure.fidelity import CpuTimes, LoadWatch, RttError, parse_cpu, rtt_error

STAT = "cpu  100 20 30 1000 50 6 4 40 7 8\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"


def row(rtt_ns: int | None, host: str = "LHR-c1") -> EchoRow:
    outcome = "lost" if rtt_ns is None else "ok"
    return EchoRow(0, host, None, IPv4Address("198.51.100.1"), 0, 0, rtt_ns, outcome, "kernel")


def test_parse_cpu_sums_by_what_the_time_went_to():
    # Guest time (the last two) is within user time already: proc_stat(5).
    assert parse_cpu(STAT) == CpuTimes(busy=160, idle=1050, steal=40)


def test_parse_cpu_refuses_a_file_without_the_line():
    with pytest.raises(ValueError, match="no cpu line"):
        parse_cpu("cpu0 1 2 3 4 5 6 7 8\n")


def test_shares_of_a_time():
    assert CpuTimes(160, 1050, 40).share_since(CpuTimes(100, 1000, 20)) == (60 / 130, 20 / 130)
    assert CpuTimes(1, 1, 1).share_since(CpuTimes(1, 1, 1)) == (0.0, 0.0)


def test_watch_gives_sensible_shares():
    with LoadWatch(interval_s=0.01) as watch:
        during = watch.load()
    after = watch.load()
    assert during.seconds <= after.seconds
    for load in (during, after):
        assert 0 <= load.busy_mean <= load.busy_max <= 1
        assert 0 <= load.steal_mean <= load.steal_max <= 1
    assert set(after.summary()) >= {"cores", "busy_mean", "steal_max", "load_1min_max"}


def test_rtt_error_is_measured_minus_model_and_counts_losses():
    rows = [row(1500), row(1700), row(None), row(900, "CDG-c1")]
    model = {"LHR-c1": 1000, "CDG-c1": 1000}
    assert rtt_error(rows, model, key=lambda r: r.host) == RttError(3, 1, -88, 500, 660, 696, 700)


def test_rtt_error_of_nothing_is_none():
    assert rtt_error([row(None)], {}, key=lambda r: r.host).p50_ns is None


def test_a_pair_that_the_model_does_not_know_is_an_error():
    with pytest.raises(KeyError):
        rtt_error([row(5)], {}, key=lambda r: r.host)


@given(st.lists(st.integers(0, 10**9), min_size=1), st.integers(0, 10**9))
def test_quantiles_are_ordered_and_within_the_errors(rtts, model):
    found = rtt_error([row(rtt) for rtt in rtts], {0: model}, key=lambda _: 0)
    errors = np.array(rtts) - model
    assert errors.min() <= found.p01_ns <= found.p50_ns <= found.p90_ns <= found.p99_ns
    assert found.p99_ns <= found.max_ns == errors.max()
