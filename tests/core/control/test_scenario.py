"""Scenario files: read, refused with all that is wrong, played, and made again from a log."""

from __future__ import annotations

import inspect
import io
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from experiments.control import screen
from experiments.control.rehearsal import rehearse
from experiments.control.scenario import Step, dump, entries, of_log, parse, playing, read
from experiments.control.words import Control, lease_name, words
from experiments.errors import TrialError, UsageError
from tests.fakes.lab import FakeLab
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(load("triangle"))
TEXT = """
steps:
  - {at: 8 s, link: LHR-FCO, do: set, delay: 50 ms, loss: 0.01}
  - {at: 500 ms, pop: LHR, do: withdraw}
  - {at: 12 s, note: half time}
  - {at: 12 s, server: LHR-s1, do: weigh, weight: 3}
"""
STEPS = (
    Step(500_000_000, "pop.withdraw", {"pop": "LHR"}),
    Step(8_000_000_000, "link.set", {"link": "LHR-FCO", "delay": "50 ms", "loss": "0.01"}),
    Step(12_000_000_000, "note", {"text": "half time"}),
    Step(12_000_000_000, "server.weigh", {"server": "LHR-s1", "weight": 3}),
)


def written(folder: Path, text: str) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(text)
    return path


def test_steps_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    assert read(written(tmp_path, TEXT), PLAN) == STEPS
    assert tuple(Step(**step.dump()) for step in STEPS) == STEPS


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("{pop: LHR, do: drain}", "line 3: it has no time: write `at: 5 s`"),
        ("{at: 5, pop: LHR, do: drain}", "line 3: 5 is not a time"),
        ("{at: -5 s, pop: LHR, do: drain}", "it lies before the start"),
        ("{at: 5 s, do: drain}", "it is about nothing: name one of city, lease, link"),
        (
            "{at: 5 s, pop: LHR, do: [drain]}",
            "do is one word, not ['drain']",
        ),
        (
            "{at: 5 s, pop: LHR}",
            "a pop can drain, withdraw, announce, weigh, prepend, scope, ",
        ),
        (
            "{at: 5 s, pop: LHR, do: explode}",
            "scope, not 'explode'",
        ),
        ("{at: 5 s, pop: CDG, do: drain}", "triangle has no PoP CDG"),
        ("{at: 5 s, link: LHR-CDG, do: cut}", "triangle has no link 'LHR-CDG'"),
        ("{at: 5 s, city: LHR, do: steer}", "city.steer needs 'pop': it has city, pop"),
        ("{at: 5 s, city: LHR, do: steer, pop: CDG}", "triangle has no PoP CDG"),
        ("{at: 5 s, pop: LHR, do: drain, now: 1}", "pop.drain does not know 'now'"),
        ("{at: 5 s, server: LHR-s1, do: weigh, weight: much}", "weight cannot be 'much'"),
        ("{at: 5 s, lease: 203.0.113.0, do: revoke}", "'203.0.113.0' names no lease"),
        ("{at: 5 s, link: LHR-FCO, do: set, delay: 5 parsec}", "'5 parsec' has no unit of time"),
        ("{at: 5 s, link: LHR-FCO, do: set, loss: 300 %}", "loss"),
        ("{at: 5 s, link: LHR-FCO, do: set}", "LHR-FCO does that already"),
        ("{at: 5 s, link: LHR-s1-eLHR, do: blackhole}", "a plain cable"),
        ("{at: 5 s, link: LHR-FCO, do: metric, delay: far}", "'far' is not a time"),
        ("{at: 5 s, policy: luck, do: set}", "luck"),
        ("{at: 5 s, scheme: luck, do: set}", "luck"),
        ("{at: 5 s, pop: LHR, do: weigh, weight: -5}", "weight"),
        ("{at: 5 s, pop: LHR, do: scope, scope: moon}", "moon"),
        ("{at: 5 s, target: LHR-s1, do: flood, rate: 5 bananas}", "'5 bananas' has no unit"),
        ("{at: 5 s, target: LHR-s1, do: flood, rate: 5 Tbit}", "A flood of 5 Tbit is none"),
        ("{at: 5 s, target: LHR-s1, do: spare}", "Nobody floods LHR-s1"),
        ("{at: 5 s, names: random, do: bind, without: 1.2.3.4}", "no service address"),
        ("{at: 5 s, service: 198.51.100.9, do: withdraw, pop: LHR}", "198.51.100.9"),
        ('{at: 5 s, lease: "203.0.113.0:2048", do: drain, time: "1"}', "'1' has no unit of time"),
        ('{at: 5 s, lease: "203.0.113.0:2048", do: drain, time: -1 s}', "less than nothing"),
        ('{at: 5 s, lease: "203.0.113.0:2048", do: move, server: X}', "has no server 'X'"),
        ("{at: 5 s, server: X, do: kill}", "has no server 'X'"),
        ("{at: 5 s, server: LHR-s1, do: acquire, tag: moon}", "no pool is tagged 'moon'"),
        ("{at: 5 s, server: LHR-s1, do: borrow, psid_bits: 99}", "0 to 12 PSID bits"),
        ("{at: 5 s, note: a, pop: LHR}", "a note has nothing besides, not 'pop'"),
        ("hello", "a step is a mapping"),
    ],
)
def test_a_step_that_cannot_be_is_refused_with_its_line(
    tmp_path: Path, line: str, cause: str
) -> None:
    text = f"steps:\n  - {{at: 1 s, pop: LHR, do: drain}}\n  - {line}\n"
    with pytest.raises(UsageError) as refused:
        read(written(tmp_path, text), PLAN)
    assert cause in str(refused.value)


LEASE = "203.0.113.0:2048"
LENDING = [
    {"at": "0 ms", "server": "LHR-s1", "do": "acquire", "client_id": "x", "psid_bits": 8},
    {"at": "1000 ms", "lease": LEASE, "do": "move", "server": "FCO-s1", "drain": "1 s"},
    {"at": "2000 ms", "lease": LEASE, "do": "drain", "time": "1 s"},
    {"at": "3000 ms", "lease": LEASE, "do": "renew"},
    {"at": "4000 ms", "lease": LEASE, "do": "release", "server": "FCO-s1"},
    {"at": "5000 ms", "lease": LEASE, "do": "revoke"},
    {"at": "6000 ms", "server": "LHR-s1", "do": "borrow", "tag": "any"},
    {"at": "7000 ms", "server": "LHR-s1", "do": "return"},
]


GIVEN = {
    "link": "LHR-FCO", "pop": "LHR", "city": "FCO", "server": "LHR-s1", "lease": LEASE,
    "service": "198.51.100.1", "target": "LHR-s1", "program": "agent", "names": "random",
    "policy": "bgp", "scheme": "modulo", "scope": "all", "weight": 2, "times": 2,
    "time": "1 s", "rate": "1 Mbit", "delay": "9 ms",
}  # fmt: skip


def test_every_word_of_a_scenario_can_be_rehearsed() -> None:
    steps = []
    for name in (name for name in words() if "." in name):
        _, *params = inspect.signature(words()[name]).parameters.values()
        needed = {x.name: GIVEN[x.name] for x in params if x.default is x.empty}
        needed |= {"delay": GIVEN["delay"]} if name == "link.set" else {}
        steps.append(Step(len(steps), name, needed))
    assert len(steps) > 30
    assert rehearse(enumerate(steps), PLAN) == {}


def test_a_note_is_one_line_and_colours_no_terminal() -> None:
    record = {"event": "Mark", "text": "half\n\x1b[31mtime", "at_ns": 0}
    assert screen.line(record) == "00:00:00.000  half  [31mtime"


def test_what_was_refused_is_not_made_again() -> None:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    held = next(lease for lease in control.leases() if lease["server"] == "LHR-s1")
    for _ in range(2):
        with suppress(TrialError):  # the second time it is the heir's already
            control.lease_move(lease_name(held), "FCO-s1")
    assert [x.get("do") for x in of_log(lab.records)] == ["move"]


def test_words_of_lending_are_read_and_made_again_from_a_log() -> None:
    steps = parse(LENDING, PLAN)
    assert [step.word for step in steps] == [
        "lease.acquire",
        "lease.move",
        "lease.drain",
        "lease.renew",
        "lease.release",
        "lease.revoke",
        "server.borrow",
        "server.return",
    ]
    log = [
        {"event": "Command", "word": x.word, "params": dict(x.params), "monotonic_ns": x.at_ns}
        for x in steps
    ]
    assert of_log(log) == LENDING
    assert parse(of_log(log), PLAN) == steps


@pytest.mark.parametrize("text", ["", "[]", "steps: []", "steps: 7", "a: [", "steps:\n  - &a [*a]"])
def test_what_is_no_scenario_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="steps"):
        read(written(tmp_path, text), PLAN)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = "stepz: 1\nsteps:\n  - {at: 1 s, pop: A, do: drain}\n  - {at: 1 s, pop: B, do: drain}\n"
    with pytest.raises(UsageError) as refused:
        read(written(tmp_path, text), PLAN)
    assert len(str(refused.value).splitlines()) == 3


def test_every_step_is_said_at_its_time_and_the_rest_is_left() -> None:
    said: list[str] = []
    enough = threading.Event()

    def say(word: str, _params: Mapping[str, Any]) -> None:
        said.append(word)
        if len(said) == 2:
            enough.set()

    steps = (Step(0, "a", {}), Step(20_000_000, "b", {}), Step(10**12, "c", {}))
    left: list[str] = []
    with playing(steps, say, pytest.fail, left.append):
        assert enough.wait(10)
    assert said == ["a", "b"]
    assert left == ["1 of the scenario's steps were never said, from c at 1000 s on."]


def test_a_step_that_the_lab_refuses_is_told_and_ends_the_scenario() -> None:
    told: list[str] = []
    over = threading.Event()

    def say(_word: str, _params: Mapping[str, Any]) -> None:
        raise UsageError("no such thing")

    def failed(cause: str) -> None:
        told.append(cause)
        over.set()

    left: list[str] = []
    with playing((Step(0, "a.b", {}), Step(1, "c", {})), say, failed, left.append):
        assert over.wait(10)
    assert left == ["2 of the scenario's steps were never said, from a.b at 0 ns on."]
    assert told == ["The scenario's a.b at 0 ns: no such thing"]


def test_what_was_done_by_hand_is_a_scenario(tmp_path: Path) -> None:
    log = [
        {"monotonic_ns": 1, "event": "SwitchSet", "switch": "eLHR", "connected": True},
        *(
            {"monotonic_ns": 7_000_000_000 + step.at_ns}
            | (
                {"event": "Mark", "text": step.params["text"]}
                if step.word == "note"
                else {"event": "Command", "word": step.word, "params": dict(step.params)}
            )
            for step in STEPS
        ),
    ]
    again = read(written(tmp_path, dump(of_log(log))), PLAN)
    first = STEPS[0].at_ns
    assert again == tuple(Step(s.at_ns - first, s.word, s.params) for s in STEPS)
    assert yaml.safe_load(dump([])) == {"steps": None}


def test_a_scenario_in_python_is_that_of_a_file() -> None:
    assert parse(yaml.safe_load(TEXT)["steps"], PLAN) == STEPS
    with pytest.raises(UsageError, match=r"scenario\[1\]: triangle has no PoP CDG"):
        parse([{"at": "1 s", "note": "a"}, {"at": "1 s", "pop": "CDG", "do": "drain"}], PLAN)


def test_steps_are_entries_of_a_file_again(tmp_path: Path) -> None:
    assert read(written(tmp_path, dump(entries(STEPS))), PLAN) == STEPS
    odd = (Step(1_234_567, "pop.drain", {"pop": "LHR"}),)
    assert parse(entries(odd), PLAN) == odd


def test_yes_and_no_come_back_from_a_log_as_they_were_said(tmp_path: Path) -> None:
    said = Step(1, "balancing.set", {"scheme": "maglev", "second_chance": False})
    assert read(written(tmp_path, dump(entries((said,)))), PLAN) == (said,)


def test_while_nobody_leads_a_status_has_no_switches() -> None:
    class Between:
        def call(self, word: str) -> Any:
            lab = FakeLab(PLAN)
            told = Control(lab, "up").say(word, {}) if word != "leases" else []  # type: ignore[arg-type]
            return told | {"switches": {}} if word == "status" else told

    text = io.StringIO()
    Console(file=text, width=120).print(screen.overview(screen.look(Between())))  # type: ignore[arg-type]
    assert text.getvalue().count("unknown") == 3
