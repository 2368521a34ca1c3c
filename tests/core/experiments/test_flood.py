"""The study flood believes what its model says, and notices what is otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import study
from experiments.errors import UsageError
from experiments.runs import runner
from experiments.verdict import flood
from experiments.verdict.oracle import Oracle
from tests.fakes.evidence import failed, perfect, spoil
from topologies import sources
from topologies.model import Line, Link
from topologies.plan import plan

LANDED = "every client lands in the nearest PoP that is announced, or at the one site"
OFFERED = "every uplink is offered what its catchment sends"
LOST = "every uplink loses what is beyond its rate"
ANSWERED = "of the requests to each PoP as many are answered as the closed form says"
CALM = "control: without an attack nothing is lost"
HURTS = "twin: with it one site loses requests"
FREE = "control: without rates the same attack does nothing"


def told(network: str) -> dict[str, Any]:
    """The metrics of a perfect run."""
    metrics = study.study("flood").evaluate(perfect("flood", network)).metrics
    return {name: metric.value for name, metric in metrics.items()}


@given(st.floats(0, 100))
def test_what_is_not_lost_is_the_rate(offered: float) -> None:
    passed = offered * (1 - flood.lost_share(offered))
    assert passed == pytest.approx(min(offered, 1))


def test_the_attack_is_as_strong_as_asked_for() -> None:
    evidence = perfect("flood", "europe")
    shots = flood.attack(evidence.oracle, evidence.spec)
    near = [c for c in shots if evidence.oracle.nearest_pops(c)[0] == "FRA"]
    assert flood.target(evidence.oracle) == "FRA"
    bits = sum(shots[client] for client in near) * flood.FRAME_BITS
    assert bits == pytest.approx(1.5 * flood.rate_bit_s(evidence.spec))
    assert min(shots.values()) == pytest.approx(0.25 * max(shots.values()))


def test_withdrawing_relieves_where_neighbours_have_room_and_cascades_where_not() -> None:
    small, large = told("triangle"), told("europe")
    for metrics in (small, large):
        assert metrics["quiet_answered_share"] == metrics["unlimited_answered_share"] == 1
        assert metrics["unicast_answered_share"] < 0.5 < metrics["anycast_answered_share"] < 1
        assert metrics["unicast_carried_share"] < metrics["anycast_carried_share"]
    assert small["withdrawn_answered_share"] < small["anycast_answered_share"]
    assert large["withdrawn_answered_share"] > large["anycast_answered_share"]
    assert small["pushed_over"] == 1
    # LHR's attack and a quarter of it from the next PoP's own region, and requests beside.
    assert small["withdrawn_load_max"] == pytest.approx(1.875, abs=0.03)


def test_what_is_lent_is_attacked_at_home_and_moving_it_relieves_the_home() -> None:
    evidence = perfect("flood")
    findings = study.study("flood").evaluate(evidence)
    pops = findings.tables["pops"].set_index(["arm", "pop"])["model_load_share"]
    assert (flood.target(evidence.oracle), flood.victim(evidence.oracle)) == ("LHR", "ARN")
    # At home: its own region's, the other's, and what LHR's uplink leaves of one and a half.
    assert pops["lent", "ARN"] == pytest.approx(2 * 0.375 + 1, abs=0.02)
    assert pops["moved", "ARN"] == pops["anycast", "ARN"] == pops["moved", "FCO"]
    assert pops["moved", "LHR"] == pytest.approx(1.5 + 2 * 0.375, abs=0.02)
    assert pops["lent", "LHR"] == pops["anycast", "LHR"]
    answered = findings.tables["pops"].set_index(["arm", "pop"])["model_answered_share"]
    assert answered.isna()["lent", "ARN"]
    assert not answered.isna()["lent", "LHR"]


def test_what_comes_by_the_backbone_is_no_load_of_the_uplink() -> None:
    network = sources.load("triangle")
    private = (Link("LHR", "ARN", Line(delay_ns=1000)), Link("FCO", "ARN", Line(delay_ns=1000)))
    spec = runner.make_spec("flood", replace(network, backbone=private), quick=True)
    oracle = Oracle(plan(spec.network))
    homes = {f"{pop}-c1": pop for pop in oracle.pops}
    lent, anycast = (flood.loads(oracle, spec, arm, homes) for arm in (flood.LENT, flood.ANYCAST))
    assert lent == anycast


def test_the_metrics_of_the_model_are_those_of_perfect_evidence() -> None:
    metrics = told("world")
    for arm in flood.ARMS:
        share, model = (metrics[f"{arm.name}_answered_{x}"] for x in ("share", "model"))
        assert share == pytest.approx(model, abs=0.02)
    assert told("triangle")["lent_answered_model"] is None  # packets in step


def of(arm: str, pop: str = "LHR") -> Callable[[pd.DataFrame], pd.Series[bool]]:
    return lambda samples: (samples["arm"] == arm) & (samples["pop"] == pop)


@pytest.mark.parametrize(
    ("arm", "columns", "checks"),
    [
        ("quiet", {"outcome": "lost", "rtt_ms": None}, {CALM, ANSWERED}),
        ("unlimited", {"outcome": "lost", "rtt_ms": None}, {FREE, ANSWERED}),
        ("unicast", {"outcome": "ok", "rtt_ms": 3.0}, {HURTS, ANSWERED}),
        ("anycast", {"outcome": "ok", "rtt_ms": 3.0}, {ANSWERED}),
        ("lent", {"outcome": "ok", "rtt_ms": 3.0}, {ANSWERED}),
        ("moved", {"outcome": "lost", "rtt_ms": None}, {ANSWERED}),
        ("anycast", {"pop": "FCO"}, {LANDED, OFFERED, LOST, ANSWERED}),
        ("quiet", {"pop": None}, {LANDED, OFFERED}),
    ],
)
def test_what_is_otherwise_is_noticed(arm: str, columns: dict[str, Any], checks: set[str]) -> None:
    assert set(failed(spoil(perfect("flood"), of(arm), **columns))) == checks


@pytest.mark.parametrize(
    ("arm", "pop", "change", "checks"),
    [
        ("withdrawn", "LHR", {"packets": 3000, "bytes": 3000 * 542}, {OFFERED}),
        ("anycast", "LHR", {"drops": 0}, {OFFERED, LOST}),
        ("unlimited", "LHR", {"packets": 0, "bytes": 0, "drops": 0}, {OFFERED}),
        ("quiet", "ARN", {"drops": 500}, {LOST}),
        ("lent", "ARN", {"packets": 900, "bytes": 900 * 542, "drops": 0}, {OFFERED, LOST}),
        ("moved", "ARN", {"packets": 5000, "bytes": 5000 * 542}, {OFFERED}),
    ],
)
def test_an_uplink_that_carries_otherwise_is_noticed(
    arm: str, pop: str, change: dict[str, int], checks: set[str]
) -> None:
    evidence = perfect("flood")
    rows = evidence.observed["uplinks"]
    next(row for row in rows if (row["arm"], row["pop"]) == (arm, pop)).update(change)
    assert checks <= set(failed(evidence)) <= {*checks, OFFERED}


def test_what_links_lose_by_themselves_is_not_the_attacks() -> None:
    sound, chance = perfect("flood"), random.Random(1)
    network = sound.plan.network
    lossy = plan(
        replace(
            network, links=tuple(replace(x, line=replace(x.line, loss=0.1)) for x in network.links)
        )
    )
    oracle = Oracle(lossy)
    survivals = {client: oracle.survival(client, "LHR-s1") for client in ("LHR-c1", "FCO-c1")}
    assert survivals["LHR-c1"] == 1 > survivals["FCO-c1"]

    far = (sound.samples["arm"] == "unlimited") & (sound.samples["client"] == "FCO-c1")
    hit = far.map(lambda mine: mine and chance.random() > survivals["FCO-c1"])
    lost = spoil(sound, lambda _samples: hit, outcome="lost", rtt_ms=None)
    assert FREE in failed(lost)
    assert FREE not in failed(replace(lost, plan=lossy, oracle=oracle))


def test_requests_that_fill_an_uplink_are_refused() -> None:
    with pytest.raises(UsageError, match="lower requests_per_s"):
        runner.make_spec("flood", "triangle", params={"requests_per_s": 5000})


def test_one_pop_cannot_spread_an_attack() -> None:
    network = sources.load("triangle")
    with pytest.raises(UsageError, match="one PoP"):
        runner.make_spec("flood", replace(network, pops=network.pops[:1]))


@pytest.mark.parametrize("line", [{"delay_ns": 0}, {"rate_bit_s": 10**7}])
def test_an_uplink_must_be_free_to_get_a_rate(line: dict[str, int]) -> None:
    network = sources.load("triangle")
    first = network.pops[0]
    pops = (replace(first, uplink=replace(first.uplink, **line)), *network.pops[1:])
    with pytest.raises(UsageError, match="give that of LHR a delay"):
        runner.make_spec("flood", replace(network, pops=pops))
