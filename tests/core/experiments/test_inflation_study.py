"""The study inflation on made-up evidence: what it believes, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from experiments import study
from experiments.studies.inflation import PREPENDED, USUAL, WITHDRAWN
from experiments.study import Evidence
from tests.fakes.evidence import failed, of, perfect, spoil

AGREE = "the server that answers, probes from the service, the speakers and the model agree"


def test_what_is_too_far_is_told_and_what_one_more_link_would_give() -> None:
    findings = study.study("inflation").evaluate(perfect("inflation", "tiers"))
    inflated = findings.tables["catchments"].query("arm == 'usual' and latency_inflation_ms > 1")
    assert set(inflated["client"]) == {"JNB-c1"}
    assert inflated["pop"].item() == "JFK"
    assert inflated["rtt_ms"].item() == pytest.approx(229.2, 0.01)
    links = findings.tables["links"].set_index("customer")
    assert set(links["city"]) == {"JNB"}
    assert set(links["pop"]) == {"LHR"}
    # A customer's route is liked better than a peer's, however far it leads.
    assert links["gain_ms"]["nobody"] == 0
    assert links["gain_ms"]["LHR"] > (229.2 - 149.3) / 14
    assert "Between JNB and LHR a link that the PoP's network pays" in findings.answer
    assert findings.metrics["usual_rtt_over_100_share"].value == pytest.approx(2 / 14)


def said(evidence: Evidence, arm: str, **what: object) -> Evidence:
    """Other words about where one client of an arm landed."""
    spoilt = spoil(evidence, lambda s: s.index < 0)
    spoilt.observed["landed"] = deepcopy(evidence.observed["landed"])
    next(one for one in spoilt.observed["landed"] if one["arm"] == arm).update(what)
    return spoilt


@pytest.mark.parametrize(
    ("spoilt", "check"),
    [
        (lambda e: said(e, USUAL, pop="VIE"), AGREE),
        (lambda e: said(e, USUAL, spoken=""), AGREE),
        (lambda e: said(e, USUAL, probed=["JFK", "VIE"]), AGREE),
        (lambda e: said(e, WITHDRAWN, pop="LHR"), "control: a PoP that is withdrawn gets nobody"),
        (
            lambda e: said(e, PREPENDED, pop="LHR"),
            "twin: as it is announced it gets clients, and no more of them when it prepends",
        ),
        (
            lambda e: spoil(e, of(arm=USUAL, client="JNB-c1"), rtt_ms=1.0),
            "everybody is answered, and nobody sooner than the best PoP could",
        ),
        (
            lambda e: spoil(e, of(arm=USUAL, client="JNB-c1"), outcome="lost"),
            "everybody is answered, and nobody sooner than the best PoP could",
        ),
    ],
)
def test_bad_evidence_is_not_believed(spoilt: Callable[[Evidence], Evidence], check: str) -> None:
    assert check in failed(spoilt(perfect("inflation", "tiers")))
