"""A finished run at any moment of it: its world, its leases, its links, by its event log alone.

What a lab says of itself when it is asked is made here of what has happened until then, so that
``state`` shows both alike. Replay goes on from a copy that was kept every so many records.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.core.describing import describe_lease, describe_world
from controller.core.events import (
    Command,
    Event,
    LeaderSet,
    LeaseChanged,
    Note,
    SwitchSet,
    of_record,
)
from controller.core.lease import Lease, LeaseState
from controller.core.steering import rank
from controller.core.world import World
from experiments.control import screen
from experiments.control.words import find_link, link_name, quantities, shown
from experiments.errors import UsageError
from experiments.live.state import State, Told, announced, state
from experiments.live.trips import Trips
from experiments.runs import runfolder
from topologies.emulation import wiring
from topologies.emulation.links import Impairment
from topologies.plan import LinkPlan, Plan, plan
from topologies.units import parse_rate

if TYPE_CHECKING:
    from experiments.runs.rundata import RunData

__all__ = ["LINES", "Playback", "read"]

LINES = 200
"""How many lines of the log are shown at most."""

KEPT_EVERY = 512
"""Records from one kept copy to the next."""

NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class _Lab:
    """What is so after some of the records."""

    world: World
    leases: dict[tuple[Any, int], Lease] = field(default_factory=dict)
    links: dict[int, Impairment] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)
    killed: set[str] = field(default_factory=set)
    floods: dict[str, int] = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)
    leader: str | None = None

    def copy(self) -> _Lab:
        """One that goes on by itself."""
        return replace(
            self,
            leases=dict(self.leases),
            links=dict(self.links),
            cut=set(self.cut),
            killed=set(self.killed),
            floods=dict(self.floods),
            connected=set(self.connected),
        )

    def take(self, event: Event | Note) -> None:
        """Go on to what is so once an event has happened."""
        if isinstance(event, Event):
            self.world = self.world.after(event)
        match event:
            case LeaseChanged(lease):
                if lease.state is LeaseState.FREE:
                    self.leases.pop(lease.key, None)
                else:
                    self.leases[lease.key] = lease
            case SwitchSet(switch, connected):
                (self.connected.add if connected else self.connected.discard)(switch)
            case LeaderSet(leader):
                self.leader = leader
            case Command(word, params):
                self._obey(word, params)

    def _obey(self, word: str, params: Mapping[str, Any]) -> None:
        """A word was said; those of which events tell need nothing more."""
        subject, _, verb = word.partition(".")
        if word in ("server.kill", "server.restart"):
            (self.killed.add if verb == "kill" else self.killed.discard)(params["server"])
        elif word == "target.flood":
            self.floods[params["target"]] = parse_rate(params["rate"])
        elif word == "target.spare":
            self.floods.pop(params["target"], None)
        elif subject == "link" and verb != "metric":
            self._shape(find_link(self.world.plan, params["link"]), verb, params)

    def _shape(self, link: LinkPlan, verb: str, params: Mapping[str, Any]) -> None:
        """A word was said to a link."""
        number, planned = link.number, Impairment.of(link.line)
        match verb:
            case "cut":
                self.cut.add(number)
            case "restore":
                self.cut.discard(number)
                self.links[number] = planned
            case "blackhole":
                self.links[number] = replace(planned, blackhole=True)
            case "set":
                given = quantities(*map(params.get, ("delay", "jitter", "loss", "rate")))
                self.links[number] = replace(self.links.get(number, planned), **given)


class Playback:
    """A run by its records, each as a line of the log file has it."""

    def __init__(
        self, made: Plan, purpose: str, records: Sequence[Mapping[str, Any]], trips: Trips
    ) -> None:
        """``trips`` are its round trips, by the same clock as the records (Unix, ns)."""
        self.plan, self.purpose = made, purpose
        self._trips = trips
        self._events = [of_record(record) for record in records]
        self._at = [int(record["at_ns"]) for record in records]
        self.start_ns = self._at[0] if records else trips.start_ns
        self.end_ns = max(self._at[-1] if records else 0, trips.end_ns, self.start_ns)
        sieve = screen.Sieve()
        news = [record for record in records if sieve.passes(record)]
        self._lines = [screen.line(record) for record in news]
        self._news = [int(record["at_ns"]) for record in news]
        self._kept = self._copies()

    @property
    def length_ms(self) -> float:
        """From the first record to the last, or to the last round trip."""
        return (self.end_ns - self.start_ns) / 1e6

    @property
    def news_ms(self) -> list[float]:
        """When something happened, from the start."""
        return sorted({(at - self.start_ns) / 1e6 for at in self._news})

    def view(self, ms: float) -> State:
        """All that the page shows so many milliseconds after the start."""
        # By so little time and its floats are inexact: what happens at a moment is seen at it.
        now_ns = self.start_ns + round(ms * 1e6) + 500
        lab = self._lab(bisect_right(self._at, now_ns))
        seen = bisect_right(self._news, now_ns)
        shown = state(self.plan, self._told(lab, now_ns))
        return {
            "at_s": now_ns / NS_PER_S,
            "lab": shown,
            "trips": self._trips.until(now_ns, announced(shown)),
            "lines": self._lines[max(0, seen - LINES) : seen],
        }

    def _copies(self) -> list[_Lab]:
        """What is so at the start, and after every so many records."""
        lab = _Lab(World(self.plan))
        kept = [lab.copy()]
        for number, event in enumerate(self._events, 1):
            lab.take(event)
            if number % KEPT_EVERY == 0:
                kept.append(lab.copy())
        return kept

    def _lab(self, records: int) -> _Lab:
        """What is so after so many records."""
        place = records // KEPT_EVERY
        lab = self._kept[place].copy()
        for event in self._events[place * KEPT_EVERY : records]:
            lab.take(event)
        return lab

    def _told(self, lab: _Lab, now_ns: int) -> Told:
        """What the lab would say."""
        world, made = lab.world, self.plan
        switches = {x.name: {"connected": x.name in lab.connected} for x in made.switches}
        status = {
            "network": made.network.name,
            "purpose": self.purpose,
            "ready": all(switch["connected"] for switch in switches.values()),
            "fault": None if lab.leader else "no controller yet",
            "switches": switches,
            "killed": lab.killed,
            "floods": dict(sorted(lab.floods.items())),
        }
        steered = describe_world(world, rank(world))
        leases = [_described(lease, now_ns) for lease in lab.leases.values()]
        links = [_link(link, lab) for link in made.links]
        return Told(screen.View(status, steered, leases), links, now_ns / NS_PER_S)


def _described(lease: Lease, now_ns: int) -> dict[str, Any]:
    """A lease as the controller tells it."""
    return describe_lease(lease) | {"expires_in_s": (lease.until_ns - now_ns) / NS_PER_S}


def _link(link: LinkPlan, lab: _Lab) -> dict[str, Any]:
    """A link as the lab tells it: both ways do the same."""
    does = shown(lab.links.get(link.number, Impairment.of(link.line)))
    ways = [does, does] if wiring.is_emulated(link) else []
    return {"link": link_name(link), "cut": link.number in lab.cut, "ways": ways}


def read(folder: Path) -> Playback:
    """The run in a folder. Raises UsageError if it is none, or had no lab."""
    from experiments.runs import rundata

    run, log = rundata.load(folder, compact=True), folder / runfolder.LOG
    if not log.exists():
        raise UsageError(f"{folder} has no event log, so there is nothing to play back.")
    with rundata.whole(folder):
        return _playback(run, log)


def _playback(run: RunData, log: Path) -> Playback:
    records = [json.loads(line) for line in log.read_text().splitlines()]
    made = plan(run.spec.network)
    ahead_ns = records[0]["at_ns"] - records[0]["monotonic_ns"] if records else 0
    trips = Trips.of_samples(made, run.samples, ahead_ns)
    return Playback(made, f"{run.spec.study}, {run.manifest['start']}", records, trips)
