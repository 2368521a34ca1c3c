"""Shedding: which cities are moved off a PoP that has too much to do, and when they may return.

Demand is counted where it begins, city by city, so it is the same whoever serves it, and a
decision does not change what the next one looks at. A PoP sheds above `HIGH` of its capacity, and
takes back what fits below `LOW`: between the two nothing moves (hysteresis), as with Cloudflare's
Traffic Manager (2023), whose signal is processor time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.core.events import PopState, ShedSet
from controller.core.steering.nearest import costs, nearest
from controller.core.steering.ranking import Pops
from controller.core.world import World
from topologies.model import Policy

HIGH, LOW = 0.9, 0.7
"""Shares of a PoP's capacity."""

ROOM = (HIGH + LOW) / 2
"""Up to this a PoP takes what another sheds."""

Demand = Mapping[str, float]
"""Packets a second of service traffic, by the city where they begin."""


def decide(world: World, demand: Demand) -> tuple[ShedSet, ...]:
    """What to shed and what to take back; nothing under another policy.

    The same demand twice gives nothing the second time.
    """
    if world.policy is not Policy.CAPACITY:
        return ()
    plan = Assignment(world, demand)
    while plan.shed_some() or plan.take_some_back():
        pass
    return (
        *(ShedSet(*pair, True) for pair in sorted(plan.shed - world.shed)),
        *(ShedSet(*pair, False) for pair in sorted(world.shed - plan.shed)),
    )


class Assignment:
    """Which city goes where, and what every PoP has to do then; cities are moved one by one."""

    def __init__(self, world: World, demand: Demand) -> None:
        """As the world has it now."""
        plan = world.plan
        pops = tuple(edge.city for edge in plan.edges)
        self.shed = set(world.shed)
        """Cities and the PoPs that they are moved off."""
        self._open = tuple(pop for pop in pops if world.told(pop) is PopState.ANNOUNCED)
        self._limit = {pop: world.planned(pop).capacity_packets_s for pop in pops}
        self._nearest = nearest(world, self._open)
        self._demand = {city: demand.get(city, 0.0) for city in self._nearest}
        far = {pop: costs(world, pop) for pop in self._open}
        self._far = {
            (city, pop): far[pop][plan.transit(city).name]
            for city, ranked in self._nearest.items()
            for pop in ranked
        }
        self.loads = dict.fromkeys(pops, 0.0)
        for city in self._nearest:
            self._count(city, 1)

    def shed_some(self) -> bool:
        """Move cities off PoPs that have too much to do, first those that lose least by it."""
        before = frozenset(self.shed)
        for pop in self._open:
            for city in sorted(self._served_by(pop), key=lambda city: self._loss(city, pop)):
                if not self._fits(pop, 0.0, HIGH):
                    self._move_off(city)
        return self.shed != before

    def take_some_back(self) -> bool:
        """Let cities return to PoPs that have room again, first those that gain most by it."""
        before = frozenset(self.shed)
        known = sorted(pair for pair in self.shed if pair in self._far)
        for city, pop in sorted(known, key=self._far.__getitem__):
            if self._fits(pop, self._demand[city], LOW):
                self._set(city, self.shed - {(city, pop)})
        return self.shed != before

    def _served_by(self, pop: str) -> Iterator[str]:
        for city, demand in self._demand.items():
            if demand and self._ranked(city)[:1] == (pop,):
                yield city

    def _loss(self, city: str, pop: str) -> tuple[int, str]:
        """How much farther a city has to go if not to this PoP."""
        others = [x for x in self._ranked(city) if x != pop]
        return (self._far[city, others[0]] - self._far[city, pop] if others else 1 << 62, city)

    def _move_off(self, city: str) -> None:
        """Shed a city from its PoP, and from all before the first that has room for it, if any."""
        ranked = self._ranked(city)
        for place, pop in enumerate(ranked[1:], 1):
            if (city, pop) not in self.shed and self._fits(pop, self._demand[city], ROOM):
                self._set(city, self.shed | {(city, full) for full in ranked[:place]})
                return

    def _set(self, city: str, shed: set[tuple[str, str]]) -> None:
        self._count(city, -1)
        self.shed = shed
        self._count(city, 1)

    def _count(self, city: str, sign: int) -> None:
        for pop in self._ranked(city)[:1]:
            self.loads[pop] += sign * self._demand[city]

    def _ranked(self, city: str) -> Pops:
        """As policy capacity ranks (``controller.core.steering.capacity``)."""
        return tuple(sorted(self._nearest[city], key=lambda pop: (city, pop) in self.shed))

    def _fits(self, pop: str, more: float, share: float) -> bool:
        limit = self._limit[pop]
        return limit is None or self.loads[pop] + more <= share * limit


class Meter:
    """Demand from counters that only grow, each new reading counting half."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self.demand: dict[str, float] = {}

    def read(self, city: str, packets: int, now_ns: int) -> None:
        """A city's counter stands so by now; one that was set back begins anew."""
        before, since_ns = self._last.get(city, (packets, now_ns))
        self._last[city] = (packets, now_ns)
        if now_ns > since_ns:
            fresh = packets - before if packets >= before else packets
            rate = fresh * 1e9 / (now_ns - since_ns)
            self.demand[city] = (rate + self.demand.get(city, rate)) / 2
