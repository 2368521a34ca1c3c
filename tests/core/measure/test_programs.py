"""What iperf3 and wrk report, as the measures read it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from ipaddress import ip_address
from pathlib import Path

import pytest

from experiments.errors import TrialError
from experiments.measure import bulk, wrk
from topologies.emulation import netns

SERVICE = ip_address("198.51.100.1")

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


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, that alone are found; every host is this one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(netns, "inside", lambda _host: nullcontext())
    return tmp_path


def put(programs: Path, name: str, script: str) -> None:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)


def transfer() -> bulk.Transfer:
    return bulk.transfer("a", "b", SERVICE, seconds=2, omit_s=1, window_bytes=32768)


IPERF3 = f"""
case "$*" in
*--server*) echo "Server listening on 5201"; exec /bin/sleep 20;;
*) echo '{json.dumps(REPORT)}'; echo "$*" >"${{0%/*}}/asked";;
esac"""


def test_a_transfer_begins_when_the_server_listens(programs: Path) -> None:
    put(programs, "iperf3", IPERF3)
    assert transfer().goodput_bit_s == 10e6
    asked = (programs / "asked").read_text().split()
    assert asked == (
        ["--client", "198.51.100.1", "--json", "--time", "2", "--omit", "1", "--window", "32768"]
    )


def test_a_server_that_ends_says_why(programs: Path) -> None:
    put(programs, "iperf3", "echo 'address already in use'")
    with pytest.raises(TrialError, match="iperf3 does not serve: address already in use"):
        transfer()


def test_without_iperf3_it_is_said_what_brings_it(programs: Path) -> None:
    assert not list(programs.iterdir())
    with pytest.raises(TrialError, match="iperf3 is missing: `make setup` installs it"):
        transfer()


def test_wrk_asks_who_answers(programs: Path) -> None:
    assert not wrk.is_there()
    put(programs, "wrk", f'echo "$*" >"${{0%/*}}/asked"; echo "{TOLD}"')
    assert wrk.is_there()
    assert wrk.run("a", SERVICE, 2, 6.0).requests == 2278
    asked = (programs / "asked").read_text().split()
    assert asked == (
        [
            "--threads",
            "1",
            "--connections",
            "2",
            "--latency",
            "--duration",
            "6s",
            "http://198.51.100.1/trace",
        ]
    )
