"""The study urpf believes what its model says, and notices what is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from experiments import study
from experiments.errors import UsageError
from experiments.measure.reverse_path import Check
from experiments.runs import runner
from experiments.studies import urpf as asked
from experiments.verdict.oracle import Oracle
from tests.fakes.evidence import failed, of, perfect, spoil
from topologies import sources
from topologies.plan import plan

REFUSED = "every upstream refuses what the model says, and nothing else"
LOST = "what is refused is lost, and what nobody could answer; nothing else is"
EVERYWHERE = "twin: announced everywhere nothing else is refused or lost, whatever is checked"
STRICT = "control: strict checks refuse all of PoPs that do not announce"
OWN = "twin: they take all of the PoP that does"
LOOSE = "twin: loose checks take all, whoever announces"
NOWHERE = "control: what nobody announces is refused by any check"


@pytest.mark.parametrize("network", ["triangle", "europe", "world"])
def test_strict_checks_take_what_is_announced_and_loose_ones_what_anybody_announces(
    network: str,
) -> None:
    oracle = Oracle(plan(sources.load(network)))
    for announced in asked.announcements(oracle, 99):
        for pop in oracle.pops:
            taken = {check: asked.passes(oracle, check, pop, announced.pops) for check in Check}
            assert taken[Check.NONE]
            assert taken[Check.LOOSE] == bool(announced.pops)
            assert taken[Check.STRICT] == (pop in announced.pops)


def test_announcements_are_all_some_alone_and_none() -> None:
    oracle = Oracle(plan(sources.load("triangle")))
    assert [x.name for x in asked.announcements(oracle, 2)] == [
        "everywhere",
        *oracle.pops[:2],
        "nowhere",
    ]


@pytest.mark.parametrize(
    ("where", "outcome", "checks"),
    [
        (of(check="strict", announced="everywhere", pop="ARN"), "timeout", {LOST, EVERYWHERE}),
        (of(check="strict", announced="LHR", pop="ARN"), "ok", {LOST, STRICT}),
        (of(check="strict", announced="LHR", pop="LHR"), "timeout", {LOST, OWN}),
        (of(check="loose", announced="LHR", pop="FCO"), "timeout", {LOST, LOOSE}),
        (of(check="none", announced="LHR", pop="FCO"), "timeout", {LOST}),
        (of(check="loose", announced="nowhere", pop="FCO"), "ok", {LOST}),
    ],
)
def test_what_is_lost_against_the_model_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], outcome: str, checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("urpf"), where, outcome=outcome))) == checks


@pytest.mark.parametrize(
    ("check", "announced", "pop", "packets", "checks"),
    [
        ("strict", "everywhere", "ARN", 1, {REFUSED, EVERYWHERE}),
        ("strict", "LHR", "ARN", 0, {REFUSED, STRICT}),
        ("loose", "LHR", "ARN", 2, {REFUSED, LOOSE}),
        ("loose", "nowhere", "ARN", 0, {REFUSED, NOWHERE}),
    ],
)
def test_what_is_refused_against_the_model_is_noticed(
    check: str, announced: str, pop: str, packets: int, checks: set[str]
) -> None:
    evidence = perfect("urpf")
    (row,) = (
        x
        for x in evidence.observed["refused"]
        if (x["check"], x["announced"], x["pop"]) == (check, announced, pop)
    )
    row["packets"] = packets
    assert set(failed(evidence)) == checks


def test_two_thirds_are_refused_where_one_of_three_announces() -> None:
    metrics = study.study("urpf").evaluate(perfect("urpf")).metrics
    assert metrics["strict_one_pop_refused_share"].value == pytest.approx(2 / 3)
    assert metrics["loose_one_pop_refused_share"].value == 0
    assert metrics["none_nowhere_lost_share"].value == 1


@pytest.mark.parametrize(
    ("params", "cause"),
    [({"timeout_s": 1.5}, "sent again"), ({"alone": 0}, "One PoP at least")],
)
def test_what_would_count_packets_twice_or_none_is_refused(
    params: dict[str, Any], cause: str
) -> None:
    with pytest.raises(UsageError, match=cause):
        runner.make_spec("urpf", "triangle", params=params)
