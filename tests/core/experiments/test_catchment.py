"""The study catchment believes what its model says, and notices who lands elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments import stats, study
from experiments.errors import UsageError
from experiments.study import Evidence
from tests.fakes.evidence import failed, perfect, spoil
from topologies import sources


def found(evidence: Evidence, arm: str, client: str) -> dict[str, Any]:
    """What was seen of a client by one arm."""
    seen: list[dict[str, Any]] = evidence.observed["catchments"]
    return next(one for one in seen if (one["arm"], one["client"]) == (arm, client))


def metrics(network: str) -> dict[str, Any]:
    evaluated = study.study("catchment").evaluate(perfect("catchment", network))
    return {name: metric.value for name, metric in evaluated.metrics.items()}


def test_the_nearest_pop_costs_nothing_and_others_do() -> None:
    told = metrics("world")
    assert told["nearest_li_p95"] == told["nearest_li_over_0_share"] == 0
    assert 0 < told["bgp_li_over_25_share"] < told["weighted_li_over_25_share"]
    assert told["weighted_li_over_100_share"] <= told["weighted_li_over_25_share"]
    assert told["weighted_gi_p50"] > told["nearest_gi_p50"] == 0


def test_loads_add_up() -> None:
    evaluated = study.study("catchment").evaluate(perfect("catchment", "europe"))
    loads = evaluated.tables["loads"]
    assert set(loads.groupby("arm")["clients"].sum()) == {28}
    assert loads.groupby("arm")["share"].sum().round(9).eq(1).all()


def test_gini_is_the_textbooks() -> None:
    assert stats.gini([]) is stats.gini([0, 0]) is None
    assert stats.gini([5, 5, 5]) == 0
    assert stats.gini([0, 0, 0, 8]) == pytest.approx(3 / 4)
    assert stats.gini([1, 3]) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("arm", "client", "fields", "checks"),
    [
        ("bgp", "LHR-c1", {"pop": ""}, {"every client that is served is answered"}),
        ("weighted", "LHR-c1", {"named": "ARN", "pop": "FCO"}, set()),
        (
            "nearest",
            "LHR-c1",
            {"named": "ARN", "pop": "ARN", "probed": {"LHR": ["ARN"]}},
            {"by policy nearest every client lands in its nearest PoP"},
        ),
        (
            "steered",
            "FCO-c1",
            {"named": "ARN", "pop": "ARN", "probed": {"LHR": ["ARN"]}},
            {"twin: no other city is moved"},
        ),
        ("regional", "ARN-c1", {"probed": {"LHR": ["ARN"], "FCO": ["LHR"]}}, set()),
        ("regional", "ARN-c1", {"probed": {"LHR": []}}, set()),
        (
            "withdrawn",
            "FCO-c1",
            {"probed": {"LHR": ["FCO", "LHR"]}},
            {"control: a withdrawn PoP gets nobody"},
        ),
        (
            "announced",
            "LHR-c1",
            {"named": "FCO", "pop": "FCO", "probed": {"LHR": ["FCO"]}},
            {"twin: a PoP that is announced gets its own"},
        ),
    ],
)
def test_who_lands_elsewhere_is_noticed(
    arm: str, client: str, fields: dict[str, Any], checks: set[str]
) -> None:
    evidence = perfect("catchment")
    one = found(evidence, arm, client)
    one.update(fields)
    probed = {pop for pops in one["probed"].values() for pop in pops}
    if one["pop"] != one["named"]:
        checks = checks | {"every client lands where the controller says"}
    if probed != {one["pop"]}:
        checks = checks | {"probes from every PoP find the same catchments"}
    assert set(failed(evidence)) == checks


@pytest.mark.parametrize(("late_ms", "noise"), [(9.0, True), (-9.0, False)])
def test_inflation_by_hand_must_be_the_models(late_ms: float, noise: bool) -> None:
    evidence = perfect("catchment")
    steered = evidence.samples["arm"] == "steered"
    evidence.samples.loc[steered, "rtt_ms"] += late_ms
    checks = study.study("catchment").evaluate(evidence).checks
    (check,) = [check for check in checks if not check.passed]
    assert check.name == "control: a city steered to its farthest PoP has exactly that inflation"
    assert check.noise == noise


def test_who_is_steered_and_stays_has_no_inflation() -> None:
    evidence = perfect("catchment")
    near = evidence.samples[evidence.samples["arm"] == "nearest"]["rtt_ms"].min()
    stayed = spoil(evidence, lambda s: s["arm"] == "steered", rtt_ms=near)
    assert failed(stayed) == [
        "control: a city steered to its farthest PoP has exactly that inflation"
    ]


def test_one_pop_leaves_no_choice() -> None:
    network = sources.load("triangle")
    one = replace(network, pops=network.pops[:1])
    with pytest.raises(UsageError, match="nothing to choose"):
        study.study("catchment").prepare(one, {})
