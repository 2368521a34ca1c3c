"""A finished run at any moment of it, beside a lab that was asked at that moment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from experiments.control.words import Control
from experiments.errors import UsageError
from experiments.live import playback
from experiments.live.playback import Playback
from experiments.live.trips import RECENT, Trip, Trips
from tests.fakes.began import began
from tests.fakes.lab import FakeLab, seen
from topologies.build import NetworkBuilder
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(load("triangle"))
REFERENCE = Path("results/reference/latency-europe")


def of(lab: FakeLab) -> Playback:
    """The lab's log, played back; every switch came at its start."""
    return Playback(PLAN, "up", [*began(PLAN, 1), *lab.records], Trips(PLAN))


def comparable(found: Any) -> Any:
    """A state without the times at which quarantines end, which are rounded."""
    text = json.loads(json.dumps(found))
    for address in text["addresses"]:
        for one in address["sets"]:
            one["until_s"] = None if one.get("until_s") is None else "later"
    return text


WORDS = st.sampled_from(
    [
        ("link.cut", {"link": "LHR-FCO"}),
        ("link.cut", {"link": "LHR-ARN"}),
        ("link.blackhole", {"link": "FCO-LHR"}),
        ("link.restore", {"link": "LHR-FCO"}),
        ("link.restore", {"link": "LHR-ARN"}),
        ("link.set", {"link": "LHR-FCO", "delay": "44 ms"}),
        ("link.set", {"link": "LHR-FCO", "delay": "45 ms", "loss": "2 %"}),
        ("link.set", {"link": "eLHR-tLHR", "rate": "2 Mbit"}),
        ("link.set", {"link": "eLHR-tLHR", "delay": "1 ms", "rate": "none"}),
        ("target.flood", {"target": "LHR-s1", "rate": "5 Mbit/s"}),
        ("target.flood", {"target": "LHR-s1", "rate": "6 Mbit/s"}),
        ("target.flood", {"target": "198.51.100.1", "rate": "7 Mbit/s"}),
        ("target.spare", {"target": "LHR-s1"}),
        ("pop.withdraw", {"pop": "LHR"}),
        ("pop.drain", {"pop": "FCO"}),
        ("pop.announce", {"pop": "LHR"}),
        ("policy.set", {"policy": "bgp"}),
        ("server.kill", {"server": "LHR-s1"}),
        ("server.restart", {"server": "LHR-s1"}),
        ("server.sick", {"server": "FCO-s2"}),
        ("server.well", {"server": "FCO-s2"}),
        ("lease.revoke", {"lease": "203.0.113.0:2048"}),
        ("lease.move", {"lease": "203.0.113.1:2048", "server": "ARN-s1"}),
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, max_size=12))
@example([("link.cut", {"link": "LHR-FCO"}), ("link.restore", {"link": "LHR-FCO"})])
def test_what_is_played_back_is_what_the_lab_said(words: list[tuple[str, dict[str, str]]]) -> None:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    said: list[tuple[int, Any]] = []
    for word, params in words:
        try:
            control.say(word, params)
        except Exception:  # it does that already, or is nobody's
            continue
        at_ns = lab.records[-1]["at_ns"]
        said.append((at_ns, seen(lab, at_ns / 1e9)))
    run = of(lab)
    for at_ns, state in said:
        assert comparable(run.view((at_ns - run.start_ns) / 1e6)["lab"]) == comparable(state)


def test_playback_goes_back_too_and_past_its_kept_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "KEPT_EVERY", 3)
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    for _ in range(5):
        control.pop_withdraw("LHR")
        control.pop_announce("LHR")
    run = of(lab)
    states = []
    for record in reversed(lab.records):
        if record["event"] == "PopSet":
            view = run.view((record["at_ns"] - run.start_ns) / 1e6)
            states.append(next(x["state"] for x in view["lab"]["pops"] if x["pop"] == "LHR"))
            assert len(view["lines"]) > 0
    assert states == ["announced", "withdrawn"] * 5


def test_a_port_set_that_is_free_again_is_nobodys() -> None:
    lab = FakeLab(PLAN)
    lab.free(lab.lend("LHR-s9", "LHR"))
    run = of(lab)
    states = [x["state"] for at in run.view(run.length_ms)["lab"]["addresses"] for x in at["sets"]]
    assert set(states) == {"lent", "free"}


def test_a_running_lab_has_its_last_round_trips_alone() -> None:
    trips = Trips(PLAN, keep=3)
    for number in range(10):
        trips.add("LHR-c1", Trip(number, 1.0))
    assert (trips.start_ns, trips.end_ns) == (7, 9)


def test_before_anything_happened_nothing_is_ready() -> None:
    lab = Playback(PLAN, "up", [], Trips(PLAN)).view(0)["lab"]
    assert not lab["ready"]
    assert lab["fault"] == "no controller yet"
    assert lab["addresses"] == []


def test_round_trips_are_the_last_ones_beside_the_nearest_pop() -> None:
    trips = Trips(PLAN)
    for number in range(RECENT + 5):
        lost = number == RECENT + 3
        trips.add("LHR-c1", Trip(number, None if lost else 1.0 + number, "LHR", 0.5))
    (found,) = trips.until(RECENT + 3, ["LHR", "FCO", "ARN"])
    assert found["rtt_ms"] is None
    assert len(found["recent"]) == RECENT
    assert found["recent"][-2:] == [1.0 + RECENT + 2, None]
    away = trips.until(RECENT + 4, ["FCO"])[0]
    assert away["best_ms"] > found["best_ms"] > 0
    assert trips.until(RECENT + 4, [])[0]["best_ms"] is None
    assert trips.until(-1, ["LHR"]) == []


def test_a_study_of_hosts_has_round_trips_of_its_clients_to_the_service() -> None:
    rows = [
        ("LHR-c1", "service", 5, "ok", 2.0),
        ("LHR-c1", "FCO-s1", 6, "ok", 9.0),
        ("LHR-c1", "service", 4, "timeout", None),
        ("FCO-s1", "service", 7, "ok", 1.0),
    ]
    columns = ["host", "target", "sent_ns", "outcome", "rtt_ms"]
    trips = Trips.of_samples(PLAN, pd.DataFrame(rows, columns=columns), 100)
    assert (trips.start_ns, trips.end_ns) == (104, 105)
    (found,) = trips.until(200, ["LHR"])
    assert (found["client"], found["recent"]) == ("LHR-c1", [None, 2.0])


def test_samples_that_tell_no_time_are_no_round_trips() -> None:
    samples = pd.DataFrame({"client": ["LHR-c1"], "rtt_ms": [1.0], "outcome": ["ok"]})
    assert Trips.of_samples(PLAN, samples, 0).until(1 << 62, ["LHR"]) == []


def test_a_reference_run_is_played_back() -> None:
    run = playback.read(REFERENCE)
    end = run.view(run.length_ms)
    assert end["lab"]["ready"]
    assert {pop["pop"] for pop in end["lab"]["pops"]} == {"ARN", "FRA", "LHR"} | {
        edge.city for edge in run.plan.edges
    }
    anycast = [trip for trip in end["trips"] if trip["arm"] == "anycast"]
    assert len(anycast) == len({trip["client"] for trip in anycast}) > 10
    for trip in anycast:
        assert trip["rtt_ms"] == pytest.approx(trip["model_ms"], abs=0.2)
        assert trip["pop"] == end["lab"]["cities"][trip["client"].split("-")[0]]
        assert trip["rtt_ms"] >= trip["best_ms"] - 0.2
    begin = run.view(0)
    assert not begin["lab"]["ready"]
    assert begin["trips"] == []


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run folder"):
        playback.read(tmp_path)
    with pytest.raises(UsageError, match="no event log"):
        playback.read(Path("results/reference/internet-triangle"))


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:-20], lambda text: text + "\n\n", lambda _: '{"a": 1}\n'],
    ids=["cut", "blank", "foreign"],
)
def test_a_damaged_log_is_told(damage: Callable[[str], str], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(REFERENCE, tmp_path / "run"))
    log = folder / "log.jsonl"
    log.write_text(damage(log.read_text()))
    with pytest.raises(UsageError, match="damaged run folder"):
        playback.read(folder)


def test_a_link_without_delay_is_played_back_too() -> None:
    made = NetworkBuilder("x").city("LHR").city("CDG")
    made.link("LHR", "CDG", delay="0 ms", loss="1 %").pop("LHR", uplink={"rate": "10 Mbit"})
    there = plan(made.network())
    said = [
        ("link.set", {"link": "eLHR-tLHR", "rate": "2 Mbit"}),
        ("link.blackhole", {"link": "LHR-CDG"}),
    ]
    log = [
        {"number": n, "at_ns": n, "monotonic_ns": n, "event": "Command", "word": w, "params": p}
        for n, (w, p) in enumerate(said, 1)
    ]
    shown = Playback(there, "x", log, Trips(there)).view(1)["lab"]
    assert shown["pops"][0]["uplink"]["rate_bit_s"] == 2_000_000
    assert shown["links"][0]["state"] == "silent"
