"""Each study believes a run in which all went well, and disbelieves every kind of bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import study
from experiments.study import STUDIES
from tests.fakes.evidence import EMULATOR_ERROR_MS, failed, perfect, spoil


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("network", ["triangle", "europe"])
def test_perfect_evidence_is_believed(name: str, network: str) -> None:
    assert failed(perfect(name, network)) == []


@pytest.mark.parametrize("name", STUDIES)
def test_every_metric_has_a_unit(name: str) -> None:
    findings = study.study(name).evaluate(perfect(name))
    assert findings.metrics
    assert all(metric.unit for metric in findings.metrics.values())


PROMISED = {
    "reachability": {"pairs_ok", "pairs_total"},
    "latency": {"anycast_rtt_p50", "unicast_rtt_p50", "best_rtt_p50", "rtt_error_p50"},
    "borrowing": {
        "addresses_used",
        "servers",
        "connections_ok",
        "connections_total",
        "misdelivered",
        "cross_pop_share",
        "plain_anycast_lost_share",
    },
}


@pytest.mark.parametrize("name", STUDIES)
def test_metrics_that_scripts_rely_on_are_there(name: str) -> None:
    assert set(study.study(name).evaluate(perfect(name)).metrics) >= PROMISED[name]


@pytest.mark.parametrize("name", STUDIES)
def test_figures_are_drawn(name: str, tmp_path: Path) -> None:
    asked, evidence = study.study(name), perfect(name)
    figures = asked.draw(evidence, asked.evaluate(evidence), tmp_path)
    assert figures
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)


def test_latency_numbers_follow_the_model() -> None:
    metrics = study.study("latency").evaluate(perfect("latency")).metrics
    # Each city of the triangle has a PoP: 1 ms of access and 0.25 ms of uplink, there and back.
    assert metrics["anycast_rtt_p50"].value == pytest.approx(2.5 + EMULATOR_ERROR_MS)
    assert metrics["best_rtt_p50"].value == pytest.approx(2.5 + EMULATOR_ERROR_MS)
    # One site serves its own city like that and the two others over about 11 ms one way.
    assert metrics["unicast_rtt_p50"].value == pytest.approx(2.5 + 2 * 10.9, abs=0.5)
    assert metrics["rtt_error_p50"].value == pytest.approx(EMULATOR_ERROR_MS)


def test_latency_does_not_count_the_first_packet() -> None:
    slow = spoil(perfect("latency"), lambda s: s["sequence"] == 0, rtt_ms=500.0)
    metrics = study.study("latency").evaluate(slow).metrics
    assert metrics["rtt_error_p99"].value == pytest.approx(EMULATOR_ERROR_MS)


def test_latency_says_when_a_client_lands_elsewhere_or_is_not_answered() -> None:
    evidence = perfect("latency")
    evidence.observed["landed"]["LHR-c1"] = {"pop": "FCO", "server": "FCO-s1"}
    silent = spoil(
        evidence, lambda s: (s["client"] == "ARN-c1") & (s["arm"] == "anycast"), rtt_ms=None
    )
    assert failed(silent) == ["every client is answered", "every client lands in its best PoP"]


@pytest.mark.parametrize(("sent", "answered"), [(3, 1), (0, 0)])
def test_latency_control_must_fail_and_must_have_been_tried(sent: int, answered: int) -> None:
    evidence = perfect("latency")
    evidence.observed["nobody"].update(sent=sent, answered=answered)
    assert failed(evidence) == ["control: an address that nobody holds stays silent"]


def test_reachability_counts_pairs() -> None:
    metrics = study.study("reachability").evaluate(perfect("reachability")).metrics
    assert metrics["pairs_total"].value == 3 + 6  # 3 clients to the service, 6 servers to 1 origin
    assert metrics["pairs_ok"].value == 9


def test_reachability_pair_needs_every_method() -> None:
    bad = spoil(
        perfect("reachability"),
        lambda s: (s["source"] == "LHR-c1") & (s["method"] == "tcp"),
        outcome="timeout",
    )
    findings = study.study("reachability").evaluate(bad)
    assert findings.metrics["pairs_ok"].value == 8
    assert [c.name for c in findings.checks if not c.passed] == ["every pair reaches"]


@pytest.mark.parametrize("control", ["foreign port", "foreign address", "unlent reply"])
@pytest.mark.parametrize("outcome", ["ok", "no address"])
def test_reachability_control_must_meet_silence(control: str, outcome: str) -> None:
    bad = spoil(perfect("reachability"), lambda s: s["method"] == control, outcome=outcome)
    (name,) = failed(bad)
    assert name.startswith("control: ")


def test_reachability_wants_drops_counted() -> None:
    evidence = perfect("reachability")
    evidence.observed["dropped"].clear()
    assert failed(evidence) == ["spoofed packets are counted", "unlent packets are counted"]


def test_borrowing_counts_addresses_by_design() -> None:
    findings = study.study("borrowing").evaluate(perfect("borrowing", "europe"))
    used = findings.tables["designs"].set_index("design")["addresses"]
    assert dict(used) == {
        "own": 15,
        "owner": 1,
        "pop owner": 5,
        "port sets": 5,
        "plain anycast": 1,
    }
    assert findings.metrics["addresses_used"].value == 5
    assert findings.metrics["servers"].value == 15


def test_borrowing_control_must_lose_every_reply_that_lands_elsewhere() -> None:
    lucky = spoil(
        perfect("borrowing"),
        lambda s: (s["design"] == "plain anycast") & (s["server"] == "LHR-s1"),
        outcome="ok",
    )
    (name,) = failed(lucky)
    assert name.startswith("control: plain anycast egress")


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"misdelivered": 1}, "no reply is misdelivered"),
        ({"delivered": 0}, "no reply is misdelivered"),
        ({"counters": {"home": 0, "return": 60}}, "replies that land elsewhere come home"),
        ({"counters": {}}, "replies that land elsewhere come home"),
    ],
)
def test_borrowing_disbelieves_bad_counts(changes: dict[str, object], check: str) -> None:
    evidence = perfect("borrowing")
    evidence.observed.update(changes)
    assert failed(evidence) == [check]


def test_borrowing_says_when_connections_fail() -> None:
    bad = spoil(perfect("borrowing"), lambda s: s["server"] == "ARN-s2", outcome="reset")
    assert failed(bad) == ["every borrowed connection works", "the baselines work"]
