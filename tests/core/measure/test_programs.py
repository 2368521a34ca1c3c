"""What iperf3 and wrk report, as the measures read it."""

from __future__ import annotations

import json

import pytest

from experiments.errors import TrialError
from experiments.measure import bulk, wrk

REPORT = {
    "end": {
        "sum_sent": {"bytes": 9_000_000, "seconds": 5.0, "retransmits": 3},
        "sum_received": {"bytes": 6_250_000, "seconds": 5.0},
    }
}

TOLD = """Running 6s test @ http://198.51.100.1/trace
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    13.56ms   45.67ms 300.12ms   95.11%
    Req/Sec   380.00     12.00   400.00     88.14%
  Latency Distribution
     50%  750.00us
     75%    2.50ms
     90%    2.51ms
     99%    1.25s
  2278 requests in 6.00s, 547.77KB read
Requests/sec:    379.61
Transfer/sec:     91.28KB
"""


def test_goodput_is_what_was_received() -> None:
    found = bulk.parse(json.dumps(REPORT))
    assert found == bulk.Transfer(6_250_000, 5.0, 3)
    assert found.goodput_bit_s == 10e6


@pytest.mark.parametrize(
    ("told", "cause"),
    [
        ('{"error": "unable to connect to server"}', "iperf3: unable to connect to server"),
        ("iperf3: command line error", "iperf3 gave no JSON: iperf3: command line error"),
    ],
)
def test_a_transfer_that_failed_says_why(told: str, cause: str) -> None:
    with pytest.raises(TrialError, match=cause):
        bulk.parse(told)


def test_wrk_tells_its_tail_in_any_unit() -> None:
    assert wrk.parse(TOLD) == wrk.Report(2278, 0.75, 1250.0)


@pytest.mark.parametrize(
    "told", ["unable to connect to 198.51.100.1:http", TOLD.replace("99%", "98%")]
)
def test_wrk_without_a_report_is_an_error(told: str) -> None:
    with pytest.raises(TrialError, match="wrk gave no report"):
        wrk.parse(told)
