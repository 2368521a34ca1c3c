"""A study is judged by its own times: path by path, on either side, and by its tail."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from experiments.verdict import truth
from experiments.verdict.result import Check
from experiments.verdict.truth import Timed
from topologies import sources
from topologies.plan import Plan, plan

TRIANGLE = plan(sources.load("triangle"))
TIMED = Timed(("client",), where=lambda samples: samples["sequence"] > 0)


def samples(**errors_ms: list[float]) -> pd.DataFrame:
    """Times of clients, by what is added to the model's 10 ms."""
    rows = [
        {
            "client": client,
            "sequence": sequence,
            "outcome": "ok",
            "model_rtt_ms": 10.0,
            "rtt_ms": 10.0 + error,
        }
        for client, errors in errors_ms.items()
        for sequence, error in enumerate([50.0, *errors])  # the first is not counted
    ]
    return pd.DataFrame(rows)


def failed(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if check.passed is False]


MEDIANS, TAIL = "the study's times are the model's", "the study's times keep together"


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        ([0.1] * 9, []),
        ([0.9] * 9, []),
        ([1.1] * 9, [MEDIANS]),
        ([-1.1] * 9, [MEDIANS]),
        ([0.1] * 8 + [2.9], []),
        ([0.1] * 8 + [40.0], [TAIL]),
        ([0.1] * 8 + [-5.0], [TAIL]),
    ],
)
def test_one_path_of_many_decides(one: list[float], wanted: list[str]) -> None:
    found = truth.checks(TIMED, samples(good=[0.0] * 9, one=one), TRIANGLE)
    assert failed(found) == wanted
    noise = [check.name for check in found if check.noise]
    assert noise == ([] if min(one) < 0 else wanted)  # a busy machine shortens nothing


def test_the_worst_path_is_named() -> None:
    (medians, _) = truth.checks(TIMED, samples(good=[0.0] * 9, bad=[-3.0] * 9), TRIANGLE)
    assert "bad, is off by -3000 us, the bound is 1000 us" in medians.detail


def test_a_path_is_told_by_all_of_its_columns() -> None:
    near, far = samples(one=[0.0] * 19), samples(one=[-3.0] * 9)
    both = pd.concat([near.assign(server="near"), far.assign(server="far")], ignore_index=True)
    timed = replace(TIMED, path=("client", "server"))
    (medians, _) = truth.checks(timed, both, TRIANGLE)
    assert medians.passed is False
    assert medians.detail.startswith("2 paths; the worst median, one far, is off by -3000 us")


def test_a_short_path_may_be_off_by_the_floor() -> None:
    short = samples(one=[0.3] * 9).assign(model_rtt_ms=1.0)
    short["rtt_ms"] -= 9.0
    assert failed(truth.checks(TIMED, short, TRIANGLE)) == []
    assert failed(truth.checks(replace(TIMED, floor_us=200), short, TRIANGLE)) == [MEDIANS]


def test_what_timed_nothing_is_not_true() -> None:
    lost = samples(one=[0.0] * 9).assign(outcome="timeout")
    assert failed(truth.checks(TIMED, lost, TRIANGLE)) == [MEDIANS]


def test_links_that_scatter_times_excuse_the_tail_alone() -> None:
    network = TRIANGLE.network
    first = network.links[0]
    rough = replace(first, line=replace(first.line, jitter_ns=1_000_000))
    jittery: Plan = plan(replace(network, links=(rough, *network.links[1:])))
    assert failed(truth.checks(TIMED, samples(one=[0.1] * 8 + [40.0]), jittery)) == []
    assert failed(truth.checks(TIMED, samples(one=[9.0] * 9), jittery)) == [MEDIANS]


LOSS = "nothing is lost but what links lose by themselves"
COMPLETE = replace(TIMED, complete=True)


def some_lost(count: int, of: int, *, far: str = "timeout") -> pd.DataFrame:
    """Two paths, of one of which so many packets are lost."""
    found = samples(good=[0.0] * of, one=[0.0] * of)
    lost = (found["client"] == "one") & found["sequence"].between(1, count)
    return found.assign(outcome=found["outcome"].mask(lost, far), rtt_ms=found["rtt_ms"].mask(lost))


@pytest.mark.parametrize(("lost", "noise"), [(1, True), (4, True), (5, False), (100, False)])
def test_what_is_lost_is_missed_where_everything_should_come_back(lost: int, noise: bool) -> None:
    checks = truth.checks(COMPLETE, some_lost(lost, 200), TRIANGLE)
    assert failed(checks) == [LOSS]
    assert [check.noise for check in checks if check.name == LOSS] == [noise]
    assert failed(truth.checks(TIMED, some_lost(lost, 200), TRIANGLE)) == []


def test_what_links_lose_is_no_loss_of_the_emulators() -> None:
    network = TRIANGLE.network
    lossy = tuple(replace(link, line=replace(link.line, loss=0.05)) for link in network.links)
    there = plan(replace(network, links=lossy))
    assert failed(truth.checks(COMPLETE, some_lost(20, 200), there)) == []
    assert failed(truth.checks(COMPLETE, some_lost(100, 200), there)) == [LOSS]


def test_where_the_model_expects_nobody_nothing_is_missed() -> None:
    silent = some_lost(200, 200)
    silent.loc[silent["client"] == "one", "model_rtt_ms"] = float("nan")
    assert failed(truth.checks(COMPLETE, silent, TRIANGLE)) == []
