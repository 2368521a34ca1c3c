"""The study shedding believes what its model says, and notices what is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from experiments import study
from experiments.errors import UsageError
from experiments.studies import shedding
from tests.fakes.evidence import failed, perfect, spoil
from topologies import sources

STAYS = "control: by policy nearest the PoP stays over its capacity during the rush"
RELIEVED = "twin: by policy capacity it is below within 12 s, and stays there"
BELOW = "twin: a demand below the mark moves nobody"
SHED = "who moves is who was shed, by either policy"
TOLD = "the controller counts what servers see"
CALM = "no city flaps"
BACK = "when it is quiet again all are back"
LOST = "by policy capacity no request is lost"


def of(arm: str, *steps: str, city: str = "LHR") -> Callable[[pd.DataFrame], pd.Series[bool]]:
    return lambda s: (s["arm"] == arm) & s["step"].isin(steps) & (s["city"] == city)


def test_one_pop_has_too_little_for_the_rush_and_the_others_have_room() -> None:
    evidence = perfect("shedding", "europe")
    full, clients = shedding.region(evidence.plan, evidence.oracle)
    limits = shedding.capacities(evidence.plan)
    assert full == "FRA"
    assert limits["FRA"] == 4 * 5 * len(clients)
    assert all(limit > 6 * 5 * len(clients) for pop, limit in limits.items() if pop != full)


def test_what_shedding_costs_is_the_models() -> None:
    evidence = perfect("shedding")
    metrics = study.study("shedding").evaluate(evidence).metrics
    near, there = (
        evidence.oracle.rtt_ms("LHR-c1", evidence.plan.servers_of(pop)[0].name)
        for pop in ("LHR", "FCO")
    )
    assert metrics["capacity_extra_rtt_p50"].value == pytest.approx(there - near)
    assert metrics["capacity_relief"].value == metrics["capacity_over"].value == 5
    assert metrics["nearest_relief"].value is None
    assert metrics["nearest_over"].value == 14
    assert (metrics["capacity_moves"].value, metrics["nearest_moves"].value) == (2, 0)


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        (of("nearest", "rush"), {"pop": "FCO"}, {STAYS, SHED}),
        (of("capacity", "rush"), {"pop": "LHR"}, {RELIEVED, TOLD}),
        (of("capacity", "brink", city="ARN"), {"pop": "FCO"}, {BELOW, SHED, TOLD}),
        (of("capacity", "after"), {"pop": "FCO"}, {BACK, TOLD}),
        (of("capacity", "rush"), {"outcome": "lost"}, {LOST}),
        (of("nearest", "quiet"), {"pop": None}, {"a server saw every request that was answered"}),
    ],
)
def test_what_is_otherwise_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], columns: dict[str, Any], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("shedding"), where, **columns))) == checks


def test_a_city_that_goes_to_and_fro_is_noticed() -> None:
    def now_and_then(s: pd.DataFrame) -> pd.Series[bool]:
        return of("capacity", "rush")(s) & (s["at_s"].astype(int) % 4 == 0)

    assert CALM in failed(spoil(perfect("shedding"), now_and_then, pop="LHR"))


def test_a_controller_that_miscounts_is_noticed() -> None:
    evidence = perfect("shedding")
    looks = [look for look in evidence.observed["told"] if look["arm"] == "capacity"]
    looks[-1]["loads"]["LHR"] += 4
    assert failed(evidence) == [TOLD]


def test_one_pop_could_shed_to_nobody() -> None:
    network = sources.load("triangle")
    one = replace(network, pops=network.pops[:1])
    with pytest.raises(UsageError, match="nobody could take"):
        shedding.prepare(one, {"unit_per_s": 5})
