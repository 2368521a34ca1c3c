"""The study convergence on made-up evidence of BGP: what it believes, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from experiments import study
from experiments.studies import convergence
from experiments.studies.convergence import CUT, NOTHING, SILENT, WITHDRAWN, follow
from experiments.study import Evidence
from tests.fakes.evidence import failed, of, perfect, spoil
from topologies.plan import plan
from topologies.sources import load

TIERS = plan(load("tiers"))


def test_perfect_evidence_of_bgp_is_believed_and_told() -> None:
    evidence = perfect("convergence", "tiers")
    assert failed(evidence) == []
    metrics = study.study("convergence").evaluate(evidence).metrics
    for arm in ("mrai_0_s", "mrai_5_s"):
        assert metrics[f"{arm}_nothing_moved"].value == 0
        assert metrics[f"{arm}_withdrawn_moved"].value == 5
        assert metrics[f"{arm}_withdrawn_updates"].value == 7
        last = metrics[f"{arm}_uplink_silent_away_max"].value
        assert last is not None
        assert 5_000 < last < 6_000


def never_withdrawn(evidence: Evidence) -> Evidence:
    """A speaker that says nothing: everybody stays where they were."""
    samples = evidence.samples
    kept = samples[samples["change"] == NOTHING].groupby("client")["pop"].first()
    mine = of(change=WITHDRAWN)(samples)
    spoilt = spoil(evidence, of(change=WITHDRAWN), outcome="ok", rtt_ms=5.0)
    spoilt.samples.loc[mine, "pop"] = samples[mine]["client"].map(kept)
    return spoilt


ENDS = "every client ends where the model says, and is answered there"


@pytest.mark.parametrize(
    ("spoilt", "check"),
    [
        (never_withdrawn, ENDS),
        (never_withdrawn, "twin: whatever happens to LHR, its clients move"),
        (
            lambda e: spoil(e, lambda s: (s["change"] == NOTHING) & (s["after_ms"] > 0), pop="JFK"),
            "control: where nothing changes nobody moves or waits",
        ),
        (
            lambda e: spoil(e, lambda s: s["after_ms"] < -500, outcome="lost"),
            "twin: before each change every probe is answered",
        ),
        (
            lambda e: spoil(e, of(change=SILENT), outcome="ok", pop="VIE"),
            "a silent PoP is missed for as long as timers say",
        ),
        (
            lambda e: spoil(
                e, lambda s: (s["change"] == CUT) & (s["after_ms"] > 0) & (s["city"] == "WAW"),
                outcome="lost", pop=None,
            ),
            ENDS,
        ),
    ],
)  # fmt: skip
def test_bad_evidence_is_not(spoilt: Callable[[Evidence], Evidence], check: str) -> None:
    assert check in failed(spoilt(perfect("convergence", "tiers")))


def sent(*probes: tuple[float, str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(probes, columns=["after_ms", "outcome", "pop"])


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        # Never away.
        ([(5, "ok", "A"), (9, "ok", "A")], {"lost": 0, "back_ms": 0.0, "settled_ms": 0.0}),
        # Away, then elsewhere.
        (
            [(5, "lost", None), (9, "ok", "B"), (12, "ok", "B")],
            {"lost": 1, "back_ms": 9.0, "settled_ms": 9.0, "pop": "B"},
        ),
        # Hunting: elsewhere, lost again, and back where it was.
        (
            [(5, "ok", "B"), (9, "lost", None), (12, "ok", "C"), (15, "ok", "A")],
            {"lost": 1, "back_ms": 12.0, "settled_ms": 15.0, "pop": "A"},
        ),
        # For good.
        ([(5, "ok", "A"), (9, "lost", None)], {"back_ms": None, "settled_ms": None, "pop": None}),
    ],
)
def test_when_a_client_is_back_for_good(
    probes: list[tuple[float, str, str | None]], expected: dict[str, Any]
) -> None:
    found = follow(sent((-900, "ok", "A"), (-200, "ok", "A"), *probes))
    assert (found.before_ok, found.home) == (1.0, "A")
    assert {name: getattr(found, name) for name in expected} == expected


def test_the_link_that_is_cut_is_felt_and_can_be_spared() -> None:
    link = convergence.felt(TIERS)
    assert link is not None
    usual = convergence.expected_by_bgp(TIERS, {"victim": "LHR", "link": link.number}, NOTHING)
    cut = convergence.expected_by_bgp(TIERS, {"victim": "LHR", "link": link.number}, CUT)
    assert None not in cut.values()
    assert usual["LHR"] == cut["LHR"] == "LHR"


def test_a_line_of_cities_has_no_link_to_spare() -> None:
    network = load("tiers")
    line = replace(network, links=network.links[:1], cities=network.cities[:2], clients=(), pops=())
    assert convergence.felt(plan(replace(line, origins=(), backbone=()))) is None
