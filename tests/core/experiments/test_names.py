"""The study names believes what its model says, and notices what is otherwise."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import study
from experiments.errors import UsageError
from experiments.runs import runner
from experiments.studies import names as asked
from experiments.verdict import names
from tests.fakes.evidence import failed, perfect, spoil
from topologies import sources
from topologies.plan import plan

ANSWERED = "every visit is answered from the nearest PoP, whatever the address"
REACHED = "servers are reached at the address that the name had"
HASHED = "by hash every visit goes to the address of its name, and by one to the first"
POPULAR = "every address is visited as often as the closed form says"
EVEN = "twin: a binding at random is as even as chance lets it be"
SKEWED = "control: a binding by hash is not: it shows how popular names are"
BOUND = "nobody goes to an address for longer than its TTL and held connections allow"
MODEL = "caches and connections are used as the model says, visit by visit"
LATE = "as many come late as the closed form says"
QUESTIONS = "as many questions reach the DNS as the closed form says"
LAST = "the last one comes as late as the closed form lets expect"
TURNED = "twin: until names leave it all go there, and all to the other in the end"
SERVED = "twin: an address that names have left serves who comes late"
SILENT = "control: an address that is withdrawn as well serves nobody, whatever caches say"

RATES, TTL_S = [0.2, 1.0, 5.0], 2.0


def simulated(turns: int) -> list[list[tuple[float, names.Seen]]]:
    """Visits of three names whose caches begin in the steady state; names leave at once."""
    chance, found = random.Random(1), []
    for _ in range(turns):
        left = names.primed(RATES, TTL_S, chance)
        times: list[list[float]] = [[] for _ in RATES]
        for at_s, which in names.schedule(RATES, 2 * TTL_S, chance):
            times[which].append(at_s)
        mine: list[tuple[float, names.Seen]] = []
        for one, left_s in zip(times, left, strict=True):
            mine += zip(one, names.follow(one, left_s, TTL_S, 0.0, 0.0), strict=True)
        found.append(mine)
    return found


def test_closed_forms_of_leaving_are_those_of_a_simulation() -> None:
    turns = simulated(4000)
    late = [sum(seen.old for _, seen in turn) for turn in turns]
    mean, deviation = names.late(RATES, TTL_S)
    assert fmean(late) == pytest.approx(mean, abs=4 * deviation / math.sqrt(len(turns)))
    assert stdev(late) == pytest.approx(deviation, rel=0.05)
    asked_ = fmean(sum(seen.asked for _, seen in turn) for turn in turns)
    assert asked_ == pytest.approx(names.questions(RATES, TTL_S, 2 * TTL_S), rel=0.02)
    for at_s in (0.0, 0.5, 1.0, 1.5, 1.9):
        left = fmean(not any(seen.old and t > at_s for t, seen in turn) for turn in turns)
        assert left == pytest.approx(names.left_by(RATES, TTL_S, at_s), abs=0.03)
    around = [seen.old for turn in turns for t, seen in turn if 0.9 < t < 1.1]
    assert fmean(around) == pytest.approx(names.late_share(RATES, TTL_S, 1.0), abs=0.03)


def test_nobody_comes_after_the_ttl() -> None:
    assert names.left_by(RATES, TTL_S, TTL_S) == names.left_by(RATES, TTL_S, 9.0) == 1.0
    assert names.late_share(RATES, TTL_S, 9.0) == 0.0


@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=30).map(sorted),
    st.floats(0, 3),
    st.floats(0.1, 3),
    st.floats(0, 3),
    st.floats(0, 10),
)
def test_connections_outlive_answers_by_no_more_than_they_are_held(
    times: list[float], left: float, ttl: float, hold: float, moved: float
) -> None:
    for at, seen in zip(times, names.follow(times, left, ttl, hold, moved), strict=True):
        late = max(moved, left if left > moved else 0.0) + ttl + hold
        assert not seen.old or at < max(late, left + hold)
        assert seen.opened or not seen.asked
        assert seen.old or at >= min(moved, left) or not seen.asked


def test_a_held_connection_is_used_without_a_question() -> None:
    found = list(names.follow([0.0, 0.5, 2.5, 3.5], 0.0, 3.0, 2.0, 0.2))
    assert [(x.asked, x.opened, x.old) for x in found] == [
        (True, True, True),
        (False, False, True),
        (False, True, True),  # the answer is still kept
        (False, False, True),  # and the connection outlives it
    ]


def test_chance_is_even_and_hashes_are_as_skewed_as_names_are_popular() -> None:
    chance, shares = random.Random(1), names.popularity(200, 1.0)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(10 * shares[9])
    offs, busiest = [], []
    for _ in range(200):
        loads = Counter(chance.choices(range(64), k=640))
        offs.append(names.deviation([loads[n] for n in range(64)]))
        busiest.append(max(loads.values()) / 10)
    assert fmean(offs) == pytest.approx(0, abs=0.25)
    assert stdev(offs) == pytest.approx(1, abs=0.15)
    assert fmean(busiest) == pytest.approx(names.busiest_of_random(640, 64), rel=0.03)
    skewed = names.hashed_shares(shares, "poplab.test", 64)
    assert sum(skewed) == pytest.approx(1)
    assert names.deviation([round(640 * share) for share in skewed]) > 50
    assert math.isnan(names.deviation([5]))


def of(arm: str, **columns: Any) -> Callable[[pd.DataFrame], pd.Series[bool]]:
    def where(samples: pd.DataFrame) -> pd.Series[bool]:
        mine = samples["arm"] == arm
        for column, value in columns.items():
            mine &= samples[column] == value
        return mine

    return where


FIRST = "198.51.96.0"
ATTACKED, HEIR = "198.51.96.1", "198.51.96.2"


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        (of("random 256"), {"pop": "nowhere"}, {ANSWERED}),
        (of("static 256"), {"reached": FIRST}, {REACHED}),
        (of("one 4096", client="LHR-c1"), {"address": ATTACKED}, {REACHED, HASHED, POPULAR}),
        (of("random 4096", client="LHR-c1"), {"address": HEIR}, {REACHED, POPULAR, EVEN}),
        (of("ttl 3", client="LHR-c1", asked=True), {"asked": False}, {MODEL}),
        (of("ttl 3"), {"asked": True}, {MODEL, QUESTIONS}),
        (of("ttl 3"), {"address": ATTACKED}, {REACHED, BOUND, MODEL, LATE, LAST, TURNED}),
        (of("ttl 3 hold 2"), {"address": HEIR}, {REACHED, MODEL, TURNED}),
        (of("ttl 3 hold 2", client="LHR-c1"), {"outcome": "timeout"}, {SERVED}),
        (of("ttl 3 withdrawn"), {"outcome": "ok", "reached": ATTACKED}, {REACHED, SILENT}),
        (of("ttl 3 withdrawn", address=HEIR), {"outcome": "timeout"}, {SILENT}),
    ],
)
def test_what_is_otherwise_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], columns: dict[str, Any], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("names"), where, **columns))) == checks


def test_a_binding_by_hash_that_is_even_fails_as_a_control() -> None:
    evidence = perfect("names")
    samples = evidence.samples.copy()
    for arm in ("static 256", "static 4096"):
        samples.loc[samples["arm"] == arm, "address"] = list(
            samples.loc[samples["arm"] == arm.replace("static", "random"), "address"]
        )
    assert {SKEWED, HASHED} <= set(failed(replace(evidence, samples=samples)))


def test_skew_is_what_the_bindings_differ_in() -> None:
    metrics = study.study("names").evaluate(perfect("names")).metrics
    even, skewed, one = (
        metrics[f"{arm}_max_over_mean"].value for arm in ("random_256", "static_256", "one_4096")
    )
    assert even is not None
    assert skewed is not None
    assert 3 * even < skewed
    assert one == 4096


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"addresses": [1, 256]}, "nothing to spread"),
        ({"addresses": [256, 5000]}, "more than 198.51.96.0/20 has"),
        ({"ttls_s": [0, 1]}, "keeps nothing"),
        ({"visitors": 0}, "visitors is a whole number from 1 up"),
    ],
)
def test_what_leaves_nothing_to_measure_is_refused(params: dict[str, Any], cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        runner.make_spec("names", "triangle", params=params)


def test_a_network_that_has_enough_addresses_keeps_them() -> None:
    network = sources.load("triangle")
    params = study.study("names").params(True, {"addresses": [2, 200]})
    made = asked.prepare(network, params)
    assert len(made.services) == 256
    assert asked.prepare(made, params) is made


@pytest.mark.parametrize(("network", "most"), [("triangle", 3), ("europe", 4), ("world", 4)])
def test_of_many_clients_some_visit_an_address_that_is_left(network: str, most: int) -> None:
    spec = runner.make_spec("names", network, quick=True)
    made = plan(spec.network)
    chosen = asked.visitors(spec, made)
    assert len({host.city for host in chosen}) == len(chosen) == most
