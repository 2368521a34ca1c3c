"""The study sites believes what its model says, and notices what is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import study
from experiments.errors import UsageError
from experiments.runs import runner
from experiments.studies import sites as asked
from experiments.study import Evidence
from experiments.verdict import sites
from experiments.verdict.oracle import Oracle
from tests.fakes.evidence import failed, of, perfect, spoil
from tests.fakes.sites import announced
from topologies import sources
from topologies.plan import plan

ANSWERED = "every client is answered, however many PoPs there are"
NEAREST = "every client lands in the nearest PoP that is announced"
CLOSED = "by every order and number median, p90 and mean are the closed form's"
CONTROL = "control: while a PoP is withdrawn, times are not those of a model that has it"
TWIN = "twin: they are those of a model that has it not"

WAYS = {"a": {"X": 2.0, "Y": 30.0, "Z": 9.0}, "b": {"X": 30.0, "Y": 2.0, "Z": 9.0}}


@st.composite
def ways(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    """Round trips of a few clients to a few PoPs."""
    pops = [f"P{n}" for n in range(draw(st.integers(2, 5)))]
    rtt_ms = st.integers(1, 300).map(float)
    return {f"c{n}": {pop: draw(rtt_ms) for pop in pops} for n in range(draw(st.integers(1, 6)))}


def test_the_most_useful_comes_first_and_the_nearest_counts() -> None:
    assert sites.greedy(WAYS) == ("Z", "X", "Y")
    assert sites.nearest(WAYS, ("X", "Z")) == {"a": 2.0, "b": 9.0}
    assert sites.best(WAYS, 2) == ("X", "Y")
    assert sites.dearest(WAYS) == "X"  # without either somebody loses 7 ms: the first is told


@given(ways())
def test_no_set_is_better_than_the_best_and_greedy_starts_like_it(
    found: dict[str, dict[str, float]],
) -> None:
    pops = tuple(found["c0"])
    order = sites.greedy(found)
    assert sorted(order) == sorted(pops)
    for count in range(1, len(pops) + 1):
        best = sites.best(found, count)
        assert best is not None
        least = median(sites.nearest(found, best).values())
        sets = list(combinations(pops, count))
        assert all(least <= median(sites.nearest(found, some).values()) for some in sets)
    means = [fmean(sites.nearest(found, order[:n]).values()) for n in range(1, len(pops) + 1)]
    assert means == sorted(means, reverse=True)
    assert means[0] == min(fmean(sites.nearest(found, (pop,)).values()) for pop in pops)


@given(ways())
def test_the_dearest_pop_is_missed_at_least_as_much_as_any(
    found: dict[str, dict[str, float]],
) -> None:
    pops = tuple(found["c0"])

    def worst(gone: str) -> float:
        left = sites.nearest(found, (pop for pop in pops if pop != gone))
        here = sites.nearest(found, pops)
        return max(left[client] - here[client] for client in found)

    assert worst(sites.dearest(found)) == max(map(worst, pops))


def test_too_many_sets_are_not_tried(tmp_path: Path) -> None:
    pops = {f"P{n}": float(n) for n in range(sites.EXHAUSTIVE_POPS + 1)}
    assert sites.best({"a": pops}, 3) is None
    spec = runner.make_spec("sites", "world", pops="13", quick=True)
    made = plan(spec.network)
    oracle = Oracle(made)
    rows, observed = announced(made, oracle)
    evidence = Evidence(spec, made, oracle, pd.DataFrame(rows), observed)
    findings = study.study("sites").evaluate(evidence)
    assert set(findings.tables["sites"]["order"]) == set(asked.ORDERS)
    assert failed(evidence) == []
    assert "best" not in findings.answer
    (figure,) = asked.draw(evidence, findings, tmp_path)
    assert figure.exists()


def test_all_orders_have_all_pops_and_chance_is_the_seeds() -> None:
    oracle = Oracle(plan(sources.load("europe")))
    found = asked.orders(oracle, 1)
    assert set(found) == set(asked.ORDERS)
    assert all(sorted(order) == sorted(oracle.pops) for order in found.values())
    assert found["greedy"] == found["reverse"][::-1]
    assert found["random"] == asked.orders(oracle, 1)["random"]
    assert len({asked.orders(oracle, seed)["random"] for seed in range(8)}) > 1


@pytest.mark.parametrize(
    ("medians", "count"), [([30, 12, 11, 10], 3), ([10.9, 10, 10, 10], 1), ([30, 20, 15, 10], 4)]
)
def test_enough_is_within_a_tenth_of_all(medians: list[float], count: int) -> None:
    assert asked.enough(pd.Series(medians)) == count


def test_nothing_is_enough_if_nobody_answers() -> None:
    assert asked.enough(pd.Series([10.0, None])) is None


def test_more_pops_are_nearer_and_the_last_gains_least() -> None:
    findings = study.study("sites").evaluate(perfect("sites", "world"))
    table = findings.tables["sites"]
    for _, mine in table.groupby("order"):
        assert mine["pops"].tolist() == list(range(1, 13))
        assert mine["rtt_p50_ms"].is_monotonic_decreasing
    greedy, best = (table[table["order"] == name].set_index("pops") for name in ("greedy", "best"))
    assert (best["rtt_p50_ms"] <= greedy["rtt_p50_ms"]).all()
    told = {name: metric.value for name, metric in findings.metrics.items()}
    assert told["best_enough"] <= min(told[f"{order}_enough"] for order in asked.ORDERS)
    assert told["greedy_rtt_p50_12"] == table["rtt_p50_ms"].min()


ONE = {"announced": "ARN", "client": "LHR-c1"}
GONE = {"announced": "LHR FCO"}  # without the PoP that is missed most


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        (of(**ONE), {"pop": "FCO"}, {NEAREST}),
        (of(**ONE), {"outcome": "lost", "rtt_ms": None}, {ANSWERED, CLOSED}),
        (of(**ONE), {"rtt_ms": 90.0}, {CLOSED}),
        (of(announced="LHR ARN FCO"), {"rtt_ms": 2.0}, {CLOSED}),
        (of(**GONE, client="ARN-c1"), {"rtt_ms": 2.5}, {CONTROL, TWIN}),
        (of(**GONE, client="LHR-c1"), {"rtt_ms": 3.5}, {TWIN}),
    ],
)
def test_what_is_otherwise_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], columns: dict[str, Any], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("sites"), where, **columns))) == checks


@pytest.mark.parametrize(("rtt_ms", "noise"), [(90.0, True), (1.0, False)])
def test_late_is_noise_and_early_is_not(rtt_ms: float, noise: bool) -> None:
    spoilt = spoil(perfect("sites"), of(**GONE, client="ARN-c1"), rtt_ms=rtt_ms)
    checks = study.study("sites").evaluate(spoilt).checks
    twin = next(check for check in checks if check.name == TWIN)
    assert (twin.passed, twin.noise) == (False, noise)


def test_one_pop_leaves_nothing_to_add() -> None:
    network = sources.load("triangle")
    one = replace(network, pops=network.pops[:1])
    with pytest.raises(UsageError, match="one PoP"):
        study.study("sites").prepare(one, {})
