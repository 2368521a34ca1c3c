"""The study crosspop believes what its model says, and notices what is otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from experiments import study
from experiments.errors import UsageError
from experiments.runs import runner
from experiments.studies import crosspop as asked
from experiments.verdict import crosspop
from experiments.verdict.oracle import Oracle
from tests.fakes.evidence import failed, of, perfect, spoil
from topologies import sources
from topologies.plan import HostRole, plan

ANSWERED = "every fetch is answered, wherever its reply lands and with the backbone cut"
LONGER = "the way home takes as much longer as the closed form says"
STRAIGHT = "control: times of what lands elsewhere are not those of a straight way back"
HOME = "twin: they are those of the way home"
CARRIED = "twin: the backbone carries one packet a reply and link, as the model says"
NOTHING = "control: while it is cut it carries nothing"
RATE = "twin: downloads over a backbone with a rate get that, and not more"
MORE = "control: without a rate they get more than that"


def test_a_network_without_a_backbone_gets_a_ring_as_long_as_its_roads() -> None:
    made = crosspop.with_backbone(sources.load("triangle"))
    ends = {frozenset((link.a, link.b)) for link in made.backbone}
    assert ends == {frozenset(x) for x in (("LHR", "ARN"), ("ARN", "FCO"), ("FCO", "LHR"))}
    assert crosspop.with_backbone(made) is made
    oracle = Oracle(plan(made))
    assert len(crosspop.backbone(oracle.plan)) == 3
    assert crosspop.crossings(oracle.plan, "LHR", "FCO") == (1, 1)
    assert crosspop.crossings(oracle.plan, "LHR", "LHR") == (0, 0)
    assert crosspop.backbone(crosspop.without_backbone(oracle.plan).plan) == ()
    network = sources.load("triangle")
    two = replace(network, pops=network.pops[:2])
    assert len(crosspop.with_backbone(two).backbone) == 1


@pytest.mark.parametrize("network", ["triangle", "europe", "world"])
def test_the_way_home_is_d_o_l_and_b_l_h_less_d_o_h(network: str) -> None:
    oracle = Oracle(plan(crosspop.with_backbone(sources.load(network))))
    made = oracle.plan
    cut = crosspop.without_backbone(made)
    for origin in made.hosts_of(HostRole.ORIGIN):
        for landed in oracle.pops:
            for home in oracle.pops:
                server = made.servers_of(home)[0].name
                extra = crosspop.extra_ms(oracle, server, origin.name, landed)
                direct, there = (
                    oracle.delay_ns(origin.name, made.edge(pop).name) for pop in (home, landed)
                )
                assert extra <= crosspop.extra_ms(cut, server, origin.name, landed) + 1e-9
                if home == landed:
                    assert extra == pytest.approx(0)
                else:
                    assert extra > (there - direct) / 1e6


def test_ways_that_are_equally_short_may_cross_more_or_less() -> None:
    made = plan(sources.load("world"))
    # Down to the backbone at once, or up and down to it later: the uplinks are as long.
    assert crosspop.crossings(made, "SIN", "IAD") == (0, 1)
    assert crosspop.crossings(made, "GRU", "IAD") == (2, 2)


AWAY = of(state="whole", announced="LHR", arm="borrowed", pop="FCO")


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        (of(state="cut", pop="FCO", arm="own"), {"outcome": "timeout"}, {ANSWERED, LONGER}),
        (AWAY, {"rtt_ms": 99.0}, {LONGER, HOME}),
        (of(state="cut", announced="LHR", arm="borrowed"), {"rtt_ms": 99.0}, {LONGER}),
        (of(state="limited", pop="FCO"), {"mbit_s": 5.0}, {RATE}),
        (of(state="limited", pop="FCO"), {"mbit_s": 0.1}, {RATE}),
        (of(state="limited", pop="FCO"), {"mbit_s": None}, {RATE}),
        (of(state="free", pop="FCO"), {"mbit_s": 0.9}, {MORE}),
    ],
)
def test_what_is_otherwise_is_noticed(
    where: Callable[[pd.DataFrame], pd.Series[bool]], columns: dict[str, Any], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("crosspop"), where, **columns))) == checks


@pytest.mark.parametrize("arm", ["own", "borrowed"])
@pytest.mark.parametrize(("by_ms", "noise"), [(+9.0, True), (-9.0, False)])
def test_only_round_trips_that_are_too_long_may_be_noise(
    arm: str, by_ms: float, noise: bool
) -> None:
    evidence = perfect("crosspop")
    samples = evidence.samples.copy()
    mine = of(state="cut", announced="LHR", arm=arm)(samples)
    samples.loc[mine, "rtt_ms"] += by_ms
    found = study.study("crosspop").evaluate(replace(evidence, samples=samples))
    (longer,) = (check for check in found.checks if check.name == LONGER)
    assert (longer.passed, longer.noise) == (False, noise)


def test_replies_that_come_straight_home_fail_as_a_control() -> None:
    evidence = perfect("crosspop")
    samples = evidence.samples.copy()
    straight = samples[samples["arm"] == "own"].groupby("server")["rtt_ms"].first()
    away = (samples["arm"] == "borrowed") & (samples["state"] == "whole")
    samples.loc[away, "rtt_ms"] = samples.loc[away, "server"].map(straight)
    assert set(failed(replace(evidence, samples=samples))) == {STRAIGHT, LONGER, HOME}


@pytest.mark.parametrize(
    ("state", "packets", "check"),
    [("whole", 0, CARRIED), ("whole", 99, CARRIED), ("cut", 1, NOTHING)],
)
def test_what_the_backbone_carries_is_noticed(state: str, packets: int, check: str) -> None:
    evidence = perfect("crosspop")
    for row in evidence.observed["crossed"]:
        if row["state"] == state:
            row["packets"] = packets
    assert failed(evidence) == [check]


def test_two_in_three_replies_of_the_triangle_land_elsewhere() -> None:
    metrics = study.study("crosspop").evaluate(perfect("crosspop")).metrics
    assert metrics["whole_elsewhere_share"].value == pytest.approx(2 / 3)
    whole, cut = (metrics[f"{state}_extra_p50"].value or 0 for state in ("whole", "cut"))
    assert cut == pytest.approx(whole + 0.5)  # two uplinks of 0.25 ms instead of none


def test_replies_have_to_land_somewhere() -> None:
    with pytest.raises(UsageError, match="land somewhere"):
        runner.make_spec("crosspop", "triangle", params={"landings": 0})
    network = sources.load("triangle")
    with pytest.raises(UsageError, match="one PoP"):
        asked.prepare(replace(network, pops=network.pops[:1]), {"landings": 1})
