"""What can be done from a page, and what makes it undone, on a lab without a network."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.control.words import Control, words
from experiments.live.acts import ACTS, Act, BadActError, read, undoing
from tests.fakes.lab import FakeLab, seen
from topologies.plan import plan
from topologies.sources import load
from topologies.units import parse_share

PLAN = plan(load("triangle"))


def held() -> str:
    """The lease of LHR-s1."""
    (name,) = (
        x["lease"]
        for address in seen(FakeLab(PLAN))["addresses"]
        for x in address["sets"]
        if x.get("server") == "LHR-s1"
    )
    return str(name)


SEEN = ("policy", "cities", "links", "pops", "floods")


def steered(lab: FakeLab) -> Any:
    """What acts change, without what counts them."""
    found = seen(lab)
    holders = [
        (x["lease"], x["state"], x["server"])
        for address in found["addresses"]
        for x in address["sets"]
        if x["state"] != "free"
    ]
    servers = [(x["server"], x["state"], x["weight"]) for x in found["servers"]]
    return {name: x for name, x in found.items() if name in SEEN}, servers, holders


UNDONE = [
    Act("link.cut", {"link": "LHR-FCO"}),
    Act("link.cut", {"link": "FCO-LHR"}),
    Act("link.blackhole", {"link": "LHR-FCO"}),
    Act("pop.drain", {"pop": "LHR"}),
    Act("pop.withdraw", {"pop": "LHR"}),
    Act("policy.set", {"policy": "bgp"}),
    Act("link.set", {"link": "LHR-FCO", "delay": "30.5 ms", "loss": "0.5 %"}),
    Act("link.set", {"link": "eLHR-tLHR", "rate": "2 Mbit"}),
    Act("target.flood", {"target": "LHR-s1", "rate": "5 Mbit"}),
    Act("server.kill", {"server": "LHR-s1"}),
    Act("server.sick", {"server": "LHR-s1"}),
    Act("lease.move", {"lease": held(), "server": "FCO-s1"}),
]


@pytest.mark.parametrize("act", UNDONE, ids=lambda act: act.sentence)
def test_an_act_is_undone_by_the_word_for_it(act: Act) -> None:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    before, view = steered(lab), seen(lab)
    control.say(act.word, act.params)
    assert steered(lab) != before
    undo = undoing(act, view)
    assert undo is not None
    control.say(undo.word, undo.params)
    assert steered(lab) == before


def test_a_flood_that_grew_is_again_what_it_was() -> None:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    control.target_flood("198.51.100.1", "5 Mbit/s")
    more = Act("target.flood", {"target": "198.51.100.1", "rate": "7 Mbit"})
    end = Act("target.spare", {"target": "198.51.100.1"})
    was = Act("target.flood", {"target": "198.51.100.1", "rate": "5 Mbit"})
    assert undoing(more, seen(lab)) == undoing(end, seen(lab)) == was


def test_of_a_link_that_is_set_only_what_was_said_is_taken_back() -> None:
    lab = FakeLab(PLAN)
    Control(lab, "up").link_set("LHR-FCO", rate="2 Mbit")  # type: ignore[arg-type]
    free = Act("link.set", {"link": "LHR-FCO", "rate": "none"})
    undo = Act("link.set", {"link": "LHR-FCO", "rate": "2 Mbit"})
    assert undoing(free, seen(lab)) == undo


@pytest.mark.parametrize(
    ("first", "second", "undo"),
    [
        ("link.cut", "link.restore", "link.cut"),
        ("link.blackhole", "link.restore", "link.blackhole"),
        ("link.blackhole", "link.cut", "link.blackhole"),
    ],
)
def test_a_link_goes_back_to_what_it_was(first: str, second: str, undo: str) -> None:
    lab = FakeLab(PLAN)
    Control(lab, "up").say(first, {"link": "LHR-FCO"})  # type: ignore[arg-type]
    assert undoing(Act(second, {"link": "LHR-FCO"}), seen(lab)) == Act(undo, {"link": "LHR-FCO"})


def test_a_link_that_was_set_goes_back_to_what_was_set_before() -> None:
    lab = FakeLab(PLAN)
    given = {"link": "LHR-FCO", "delay": "31.25 ms", "loss": "0.125 %"}
    Control(lab, "up").say("link.set", given)  # type: ignore[arg-type]
    later = Act("link.set", given | {"delay": "1 ms"})
    assert undoing(later, seen(lab)) == Act("link.set", given)


def test_a_server_that_was_killed_can_be_sick_too() -> None:
    lab = FakeLab(PLAN)
    server = {"server": "LHR-s1"}
    for word in ("server.kill", "server.sick"):
        Control(lab, "up").say(word, server)  # type: ignore[arg-type]
    now = seen(lab)
    assert undoing(Act("server.restart", server), now) == Act("server.kill", server)
    assert undoing(Act("server.well", server), now) == Act("server.sick", server)
    assert undoing(Act("server.kill", server), now) is None
    assert undoing(Act("server.sick", server), now) is None


def test_a_pop_goes_back_to_what_it_was() -> None:
    lab = FakeLab(PLAN)
    Control(lab, "up").pop_drain("LHR")  # type: ignore[arg-type]
    undo = undoing(Act("pop.announce", {"pop": "LHR"}), seen(lab))
    assert undo == Act("pop.drain", {"pop": "LHR"})


@pytest.mark.parametrize(
    "act",
    [
        Act("lease.revoke", {"lease": held()}),
        Act("lease.move", {"lease": held(), "server": "LHR-s1"}),
        Act("lease.move", {"lease": "203.0.113.9:2048", "server": "LHR-s1"}),
        Act("link.restore", {"link": "LHR-FCO"}),
        Act("link.cut", {"link": "LHR-CDG"}),
        Act("pop.announce", {"pop": "LHR"}),
        Act("pop.drain", {"pop": "CDG"}),
        Act("policy.set", {"policy": "nearest"}),
        Act("link.set", {"link": "LHR-CDG", "delay": "1 ms", "loss": "0 %"}),
        Act("server.kill", {"server": "CDG-s1"}),
        Act("server.restart", {"server": "LHR-s1"}),
        Act("server.well", {"server": "LHR-s1"}),
    ],
    ids=lambda act: act.sentence,
)
def test_what_changes_nothing_or_stays_has_no_undo(act: Act) -> None:
    assert undoing(act, seen(FakeLab(PLAN))) is None


def test_every_act_is_a_word_with_these_parameters() -> None:
    for name, given in ACTS.items():
        known = words()[name].__code__
        assert set(given) <= set(known.co_varnames[1 : known.co_argcount]), name


def test_an_act_is_told_in_the_words_of_the_log() -> None:
    assert Act("link.cut", {"link": "LHR-CDG"}).sentence == "link cut LHR-CDG"
    moved = Act("lease.move", {"server": "FCO-s1", "lease": "203.0.113.0:2048"})
    slowed = Act("link.set", {"link": "LHR-CDG", "delay": "30 ms", "loss": "1 %"})
    assert slowed.sentence == "link set LHR-CDG delay 30 ms loss 1 %"
    assert moved.sentence == "lease move 203.0.113.0:2048 to FCO-s1"


def test_an_act_is_read_back() -> None:
    for act in UNDONE:
        assert read({"word": act.word, "params": dict(act.params)}) == act


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (None, "an object with a word"),
        ([], "an object with a word"),
        ({"word": "link.cut"}, "an object with a word"),
        ({"word": "link.cut", "params": {"link": "x"}, "now": 1}, "an object with a word"),
        ({"word": "program.kill", "params": {"program": "controller"}}, "does not say"),
        ({"word": ["link.cut"], "params": {"link": "x"}}, "does not say"),
        ({"word": "link.cut", "params": {}}, "takes link"),
        ({"word": "link.cut", "params": ["link"]}, "takes link"),
        ({"word": "link.set", "params": {"link": "x"}}, "takes link and delay and loss and rate"),
        ({"word": "link.set", "params": {"delay": "1 ms"}}, "takes link"),
        ({"word": "link.set", "params": {"link": "x", "jitter": "1 ms"}}, "takes link"),
        (
            {"word": "link.set", "params": {"link": "x", "delay": "1 ms", "jitter": "1 ms"}},
            "takes link",
        ),
        ({"word": "lease.move", "params": {"lease": "x"}}, "takes lease and server"),
        ({"word": "link.cut", "params": {"link": 7}}, "is text"),
    ],
)
def test_what_is_no_act_is_refused(data: Any, cause: str) -> None:
    with pytest.raises(BadActError, match=cause):
        read(data)


def test_a_small_loss_comes_back_as_it_was() -> None:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    control.say("link.set", {"link": "LHR-FCO", "loss": "0.00001 %"})
    undo = undoing(Act("link.set", {"link": "LHR-FCO", "loss": "1 %"}), seen(lab))
    assert undo is not None
    assert parse_share(undo.params["loss"]) == 1e-7
