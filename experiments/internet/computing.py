"""The trial of the study internet: every part of it, from a seed to rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from controller.core.steering.vectorised import Routes, Sites, loads, routes
from experiments.errors import TrialError
from experiments.internet import egress, floods, placements
from experiments.internet.arms import (
    ANNOUNCED,
    DESCENDED,
    GENERATED,
    GIVEN,
    GREEDY,
    LAWFUL,
    LEAK,
    PLAIN,
    PREPENDED,
    RANDOM,
    SHIFTED,
)
from experiments.internet.views import view
from experiments.playbook import asked, descend, off_share, wanted, ways
from experiments.study import Trial
from topologies.business import Neighbour
from topologies.internet.graph import Internet, Ints
from topologies.validate import NetworkError

MOST_NAMED = 100
"""With more sites than that a row does not name them all."""


def announced(at: Ints, way: str) -> Sites:
    """The sites that a way describes."""
    prepend, scope = zip(*asked(way), strict=True)
    return replace(Sites.of(at), prepend=np.array(prepend, dtype=np.int32), scope=scope)


class Computation:
    """A trial's Internet, and the rows that it makes of it."""

    def __init__(self, t: Trial) -> None:
        self.t = t
        self.internet = self._internet()
        network = t.plan.network
        cities = [network.city(pop.city) for pop in network.pops]
        self.room = placements.hosts(self.internet)
        self._see_that_there_is_room(len(cities))
        self.given = placements.near(self.internet, cities)
        t.observed["internet"] = {
            "name": self.internet.name,
            "fingerprint": self.internet.fingerprint(),
            "ases": self.internet.size,
            "relations": self.internet.relations,
            "hosts": len(self.room),
        }

    def _internet(self) -> Internet:
        """Drawn or read, as the study was asked. Raises TrialError where there is none."""
        from topologies.internet.caida import load
        from topologies.internet.generate import generate

        asked = str(self.t.spec.params["relations"])
        try:
            if asked == GENERATED:
                return generate(self.t.count("ases"), self.t.spec.seed)
            return load(asked, self.t.spec.seed)
        except (NetworkError, OSError, ValueError) as error:
            raise TrialError(f"There is no Internet to compute on: {error}") from None

    def _see_that_there_is_room(self, given: int) -> None:
        wanted = int(max(given, self.t.param("greedy"), *self.t.spec.numbers("sites")))
        if wanted > len(self.room):
            raise TrialError(
                f"{wanted} sites find room at {len(self.room)} ASes only: ask for fewer, or for a "
                "larger Internet (--set ases=...)."
            )

    def chance(self, part: int, draw: int = 0) -> np.random.Generator:
        """The chance of one part of the trial, whatever the others use of theirs."""
        return np.random.default_rng([self.t.spec.seed, part, draw])

    def emit(
        self, arm: str, sites: Sites, found: Routes, draw: int = 0, **more: Any
    ) -> dict[str, Any]:
        """Keep a row of what clients see."""
        row = {"arm": arm, "sites": len(sites.at), "draw": draw}
        row |= view(self.internet, sites, found) | {"at": _named(self.internet, sites.at)} | more
        self.t.reporter.emit(row)
        return row

    def placements(self) -> Ints:
        """Random sites, greedy ones, and those that were given; the greedy ones come back."""
        t = self.t
        for count in map(int, t.spec.numbers("sites")):
            for draw in range(t.count("draws")):
                sites = Sites.of(placements.drawn(self.internet, count, self.chance(1, draw)))
                self.emit(RANDOM, sites, routes(self.internet, sites), draw)
        room = min(len(self.room), max(t.count("candidates"), t.count("greedy")))
        candidates = placements.drawn(self.internet, room, self.chance(2))
        chosen = placements.greedy(self.internet, candidates, t.count("greedy"))
        for count in range(1, len(chosen) + 1):
            sites = Sites.of(chosen[:count])
            self.emit(GREEDY, sites, routes(self.internet, sites))
        sites = Sites.of(self.given)
        self.emit(GIVEN, sites, routes(self.internet, sites))
        return chosen

    def losses(self, arm: str, at: Ints) -> Iterator[dict[str, Any]]:
        """Each site goes down in turn: where its clients go, and who else moves."""
        sites, weights = Sites.of(at), self.internet.clients
        before = routes(self.internet, sites)
        whole = loads(before, sites, weights)
        for site in range(len(at)):
            less = sites.without(site)
            after = routes(self.internet, less)
            was_here = before.site == site
            moved = (after.site != before.site) & ~was_here
            yield {
                "arm": arm,
                "site": site,
                "share": float(whole[site]),
                "left_share": float(weights[after.site == site].sum()),
                "nowhere_share": float(weights[was_here & ~after.reached].sum()),
                "bystanders_share": float(weights[moved].sum()),
                "before": whole.tolist(),
                "after": loads(after, less, weights).tolist(),
                "heirs": np.bincount(
                    after.site[was_here & after.reached],
                    weights[was_here & after.reached],
                    len(at),
                ).tolist(),
            }

    def announcements(self) -> None:
        """The given sites in many ways, then from the plain one downhill to the wanted split; and
        ways that say what prepending does.
        """
        prepends, most = self.t.count("prepends"), self.t.count("ways")
        plain, goal = " ".join("0" for _ in self.given), wanted(self.t.plan.network)
        for way in ways(len(self.given), prepends, most, self.chance(3).bytes):
            self._announce(ANNOUNCED, way)
        descend(plain, prepends, lambda way: off_share(self._announce(DESCENDED, way), goal), most)
        largest = int(np.argmax(self._announce(PLAIN, plain)))
        self._announce(SHIFTED, plain.replace("0", str(prepends)))
        words = plain.split()
        words[largest] = str(prepends)
        self._announce(PREPENDED, " ".join(words))

    def _announce(self, arm: str, way: str) -> list[float]:
        """Keep how the load is split, and give it back: by site, of all clients."""
        sites = announced(self.given, way)
        found = routes(self.internet, sites)
        shares: list[float] = loads(found, sites, self.internet.clients).round(9).tolist()
        row = {"arm": arm, "sites": len(sites.at), "draw": 0, "way": way}
        row["reached_share"] = float(self.internet.clients[found.reached].sum())
        self.t.reporter.emit(row | {"shares": " ".join(map(str, shares))})
        return shares

    def leak(self) -> Mapping[str, Any]:
        """An AS with many to tell leaks the given sites' prefix, beside the same without it."""
        sites = Sites.of(self.given)
        lawful = routes(self.internet, sites)
        leaker = leakers_choice(self.internet, lawful)
        leaked = routes(self.internet, sites, leaker)
        self.emit(LAWFUL, sites, lawful)
        self.emit(LEAK, sites, leaked)
        drawn = leaked.via != lawful.via
        return {
            "leaker": f"AS{self.internet.number[leaker]}",
            "drawn_share": float(self.internet.clients[drawn].sum()),
        }

    def floods(self, greedy: Ints) -> Iterator[dict[str, Any]]:
        """Attacks on the given sites, the greedy ones, and random ones."""
        attack = floods.bots(self.internet.size, self.chance(4))
        places = {(GIVEN, len(self.given)): self.given, (GREEDY, len(greedy)): greedy}
        for count in map(int, self.t.spec.numbers("sites")):
            places[RANDOM, count] = placements.drawn(self.internet, count, self.chance(1))
        for number, ((arm, count), at) in enumerate(places.items()):
            sites = Sites.of(at)
            found = routes(self.internet, sites)
            shares = loads(found, sites, attack).tolist()
            for volume in self.t.spec.numbers("volumes"):
                chance = self.chance(5, number)
                counted = floods.counted(found, sites, attack, volume, chance)
                yield {
                    "arm": arm,
                    "sites": count,
                    "volume": volume,
                    "counted_share": counted,
                    "shares": shares,
                }


def leakers_choice(internet: Internet, lawful: Routes) -> int:
    """Who leaks: of the ASes that ought to tell customers alone, the one with most others."""
    others = internet.providers.degrees() + internet.peers.degrees()
    narrow = (
        lawful.reached
        & (lawful.heard_from != Neighbour.CUSTOMER)
        & (internet.providers.degrees() > 1)
    )
    return int(np.argmax(np.where(narrow, others, -1)))


def _named(internet: Internet, at: Ints) -> str:
    """The ASes of sites in words; empty for too many."""
    return " ".join(f"AS{internet.number[one]}" for one in at) if len(at) <= MOST_NAMED else ""


def compute(t: Trial) -> None:
    """Everything, step by step."""
    with t.step("an Internet of ASes", 2):
        made = Computation(t)
    with t.step("random, greedy and given sites", 60):
        greedy = made.placements()
    with t.step("each site is lost in turn", 2):
        t.observed["losses"] = [*made.losses(GIVEN, made.given), *made.losses(GREEDY, greedy)]
    with t.step("ways to announce the given sites", t.param("ways") / 100):
        made.announcements()
    with t.step("a route leak", 1):
        t.observed["leak"] = made.leak()
    with t.step("floods", 3):
        t.observed["floods"] = list(made.floods(greedy))
    with t.step("servers borrow addresses in many cities", 10):
        t.observed["egress"] = [
            row
            for cities in t.spec.numbers("egress_cities")
            for row in egress.lent(int(cities), t.count("tags"), t.random)
        ]
