"""The study announcing believes what its model says, and notices what is otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments import study
from experiments.errors import UsageError
from experiments.runs import runner
from experiments.studies import announcing as asked
from experiments.verdict.oracle import oracle
from tests.fakes.evidence import failed, of, perfect, spoil
from topologies import sources
from topologies.model import Scope
from topologies.plan import HostRole, plan

HOME = "every reply comes home, whoever announces"
LANDED = "replies land where the model says, as switches count"
REFUSED = "upstreams refuse what the model says"
SPOKEN = "the speakers say so too, and every router knows every prefix"
LOST = "control: plain anycast loses the replies that land elsewhere"
ELSEWHERE = "control: announced everywhere some replies land elsewhere"
AT_HOME = "twin: with their pieces announced from home none do"
OTHERS = "control: where one PoP announces, strict upstreams refuse all of the others"
OWN = "twin: they take what a PoP sends from what it announces as its own"


@pytest.mark.parametrize("network", ["tiers", "europe"])
def test_pieces_bring_replies_home_by_ways_of_their_own(network: str) -> None:
    whole = sources.load(network, upstream="bgp")
    made = plan(study.study("announcing").prepare(whole, {"timeout_s": 0.8}))
    model = oracle(made)
    for server in made.hosts_of(HostRole.SERVER):
        for origin in made.hosts_of(HostRole.ORIGIN):
            ends = (server.name, origin.name)
            assert asked.landing(model, asked.AT_HOME, server.city, origin.name) == server.city
            # Nobody prepends, so the piece is chosen as the PoP's own prefix is.
            own = asked.rtt_ms(model, asked.OWN, *ends)
            assert asked.rtt_ms(model, asked.AT_HOME, *ends) == pytest.approx(own)
            landed = asked.landing(model, asked.EVERYWHERE, server.city, origin.name)
            if landed == server.city:
                assert asked.rtt_ms(model, asked.EVERYWHERE, *ends) == pytest.approx(own)
    for pop in model.pops:
        assert asked.passes(model, "strict", asked.ALONE, pop) == (pop == model.one_owner())


def test_the_network_gets_a_piece_for_every_pop_and_what_it_has_is_whole() -> None:
    network = sources.load("europe", upstream="bgp")
    first = replace(network.pools[0], more_specifics=25)
    made = study.study("announcing").prepare(replace(network, pools=(first,)), {"timeout_s": 0.8})
    whole, cut = made.pools
    assert (whole.more_specifics, cut.more_specifics) == (None, 24)
    assert cut.prefix.prefixlen == 21  # eight pieces for five PoPs
    assert made.borrow == (*network.borrow, asked.TAG)


def test_what_would_show_nothing_is_refused() -> None:
    tiers = sources.load("tiers")
    quiet = replace(tiers, pops=(replace(tiers.pops[0], scope=Scope.CUSTOMERS), *tiers.pops[1:]))
    with pytest.raises(UsageError, match="let its scope be all"):
        study.study("announcing").prepare(quiet, {"timeout_s": 0.8})
    with pytest.raises(UsageError, match="is sent again"):
        runner.make_spec("announcing", tiers, params={"timeout_s": 1.0})
    with pytest.raises(UsageError, match="one PoP"):
        runner.make_spec("announcing", replace(tiers, pops=tiers.pops[:1]))


@pytest.mark.parametrize(
    ("where", "columns", "checks"),
    [
        ({"way": "everywhere", "check": "none", "pop": "VIE"}, {"outcome": "timeout"}, {HOME}),
        ({"way": "plain anycast", "check": "none"}, {"outcome": "ok"}, {LOST}),
        ({"way": "everywhere"}, {"landing_pop": "JFK"}, {LANDED}),
    ],
)
def test_fetches_that_are_otherwise_are_noticed(
    where: dict[str, str], columns: dict[str, str], checks: set[str]
) -> None:
    assert set(failed(spoil(perfect("announcing"), of(**where), **columns))) == checks


@pytest.mark.parametrize(
    ("what", "where", "packets", "checks"),
    [
        ("landed", {"way": "at home", "check": "none", "pop": "LHR"}, 1, {LANDED, AT_HOME}),
        ("landed", {"way": "everywhere", "check": "none"}, 0, {LANDED, ELSEWHERE}),
        ("refused", {"way": "one PoP", "check": "strict", "pop": "LHR"}, 0, {REFUSED, OTHERS}),
        ("refused", {"way": "own", "check": "strict", "pop": "LHR"}, 3, {REFUSED, OWN}),
    ],
)
def test_what_is_counted_otherwise_is_noticed(
    what: str, where: dict[str, str], packets: int, checks: set[str]
) -> None:
    evidence = perfect("announcing")
    for row in evidence.observed[what]:
        if where.items() <= row.items():
            row["packets"] = packets
    assert set(failed(evidence)) == checks


@pytest.mark.parametrize(
    "said",
    [{"pop": "LHR"}, {"routers": 13}],
)
def test_speakers_that_say_otherwise_are_noticed(said: dict[str, Any]) -> None:
    evidence = perfect("announcing")
    piece = next(x for x in evidence.observed["spoken"] if x["home"] == "VIE")
    piece |= said
    assert failed(evidence) == [SPOKEN]


def test_a_piece_of_which_nobody_speaks_is_missed() -> None:
    evidence = perfect("announcing")
    evidence.observed["spoken"][:] = [x for x in evidence.observed["spoken"] if x["home"] != "VIE"]
    assert failed(evidence) == [SPOKEN]
