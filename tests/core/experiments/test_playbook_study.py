"""The study playbook on made-up evidence, and the ways that it chooses."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import playbook, study
from experiments.studies.playbook import PLAIN, SHIFTED, catchments, off_share, to_run
from experiments.study import Evidence
from tests.fakes.evidence import failed, of, perfect, spoil
from topologies.model import Scope
from topologies.plan import plan
from topologies.sources import load

TIERS = plan(load("tiers"))


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 50), st.integers())
def test_ways_are_all_if_they_are_few_and_never_one_twice(
    sites: int, prepends: int, most: int, seed: int
) -> None:
    found = list(playbook.ways(sites, prepends, most, random.Random(seed).randbytes))
    assert len(found) == len(set(found)) == min(most, (prepends + 2) ** sites)
    assert found[0] == " ".join("0" * sites)
    for way in found:
        asked = playbook.asked(way)
        assert len(asked) == sites
        assert all(0 <= times <= prepends for times, _ in asked)


def test_a_word_is_how_often_or_to_whom() -> None:
    assert playbook.asked("2 c") == ((2, Scope.ALL), (0, Scope.CUSTOMERS))


def test_what_is_run_serves_everybody_each_in_another_way_and_the_best_first() -> None:
    every = list(playbook.ways(3, 2, 1024, random.Random(1).randbytes))
    chosen = dict(to_run(TIERS, every, 2, 5))
    assert (chosen[PLAIN], chosen[SHIFTED]) == ("0 0 0", "2 2 2")
    best = [catchments(TIERS, way) for arm, way in chosen.items() if arm.startswith("best")]
    assert len(best) == 5
    assert len({tuple(where.values()) for where in best}) == 5
    assert catchments(TIERS, "0 0 0") not in best
    off = [off_share(TIERS, where) for where in best]
    assert off == sorted(off)
    assert all(None not in where.values() for where in best)
    # Told to customers alone by all, somebody hears of no PoP.
    assert None in catchments(TIERS, "c c c").values()


def test_a_network_that_asks_for_another_split_gets_a_better_one() -> None:
    findings = study.study("playbook").evaluate(perfect("playbook", "tiers"))
    before, after = (findings.metrics[f"{x}_off_share"].value for x in ("plain", "best"))
    assert before == pytest.approx(0.157, abs=0.001)
    assert after == pytest.approx(0.043, abs=0.001)
    assert "leaves 4% (JFK plain, LHR prepends 2, VIE to customers only)" in findings.answer


@pytest.mark.parametrize(
    ("spoilt", "check"),
    [
        (
            lambda e: spoil(e, of(arm=PLAIN, client="WAW-c1"), pop="JFK"),
            "every client lands where the model says, by who answers and by what comes back",
        ),
        (
            lambda e: spoil(e, of(arm="best 1", client="WAW-c1"), probed=""),
            "every client lands where the model says, by who answers and by what comes back",
        ),
        (
            lambda e: spoil(e, of(arm=SHIFTED, client="WAW-c1"), pop="JFK"),
            "control: where all PoPs prepend alike nobody moves",
        ),
        (
            lambda e: spoil(e, lambda s: s["arm"].str.startswith("best"), pop="JFK"),
            "the best split that was computed is that of the lab",
        ),
    ],
)
def test_bad_evidence_is_not_believed(spoilt: Callable[[Evidence], Evidence], check: str) -> None:
    assert check in failed(spoilt(perfect("playbook", "tiers")))
