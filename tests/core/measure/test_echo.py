"""When probes send, and what their rows say."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.measure.echo import EchoProbe, _Sent, schedule
from experiments.measure.ping import ping


@given(st.integers(1, 60), st.integers(1, 6), st.integers(1000, 10**9), st.integers())
def test_schedule_spreads_every_probe_over_every_interval(probes, count, interval_ns, seed):
    plan = schedule(probes, count, interval_ns, seed)
    times = [at for at, _, _ in plan]
    assert times == sorted(times)
    assert {(p, s) for _, p, s in plan} == {(p, s) for p in range(probes) for s in range(count)}
    assert len(plan) == probes * count
    assert all(s * interval_ns <= at < (s + 1) * interval_ns for at, _, s in plan)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(abs(gap - interval_ns / probes) <= 1 for gap in gaps)


def test_schedule_is_the_seeds():
    assert schedule(20, 3, 10**6, 7) == schedule(20, 3, 10**6, 7)
    assert schedule(20, 3, 10**6, 7) != schedule(20, 3, 10**6, 8)


def test_rtt_is_kernel_time_minus_kernel_time():
    sent = _Sent(0, process_tx_ns=90, kernel_tx_ns=100, rx_ns=350, kernel_rx=True)
    assert sent.rtt(1000) == (250, "kernel")


def test_without_a_kernel_send_time_the_row_says_so():
    sent = _Sent(0, process_tx_ns=90, kernel_tx_ns=None, rx_ns=350, kernel_rx=True)
    assert sent.rtt(1000) == (260, "process")


def test_no_reply_and_a_late_reply_are_none_not_zero():
    assert _Sent(0, 90, 100).rtt(1000)[0] is None
    assert _Sent(0, 90, 100, rx_ns=1101, kernel_rx=True).rtt(1000)[0] is None
    assert _Sent(0, 90, 100, rx_ns=1100, kernel_rx=True).rtt(1000)[0] == 1000


@pytest.mark.parametrize("wrong", [{"count": 0}, {"interval_s": 0}, {"timeout_s": -1}])
def test_senseless_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="greater than 0"):
        ping([], **wrong)


def test_a_payload_too_small_for_the_stamp_is_refused():
    with pytest.raises(ValueError, match="use 16 or more"):
        ping([], size=8)


def test_a_missing_host_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("topologies.emulation.netns.NETNS_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="LHR-c9"):
        ping([EchoProbe("LHR-c9", IPv4Address("10.0.0.1"))])


def test_no_probes_give_no_rows():
    assert ping([], count=1, interval_s=0.001) == []
