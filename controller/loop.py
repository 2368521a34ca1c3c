"""The control loop: events in, world, rules out. The one way in which a running network changes.

`ControlLoop.happen` makes events durable, moves the world on, and gives every switch that they
touch its changes, phase by phase (``core.change``): a phase is sent when every switch of the one
before has confirmed its part or has gone away. A switch that was away gets all at once when it
comes back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import eventlet
from eventlet.greenthread import GreenThread

from controller.clock import BookClock
from controller.core.announcing import announcements
from controller.core.borrowing import SwitchRules, borrowed_rules, return_keys
from controller.core.change import Configuration, Phase, follow
from controller.core.convergence import delay_ns
from controller.core.events import CityConverged, CityHeld, Event, Note
from controller.core.lease import Lease
from controller.core.linger import Linger
from controller.core.routing import Routes
from controller.core.steering import Ranking, nearby
from controller.core.world import World
from controller.session import SwitchError
from controller.store import Record, Store, StoreError
from controller.switches import News, Switch, Topic
from controller.voices import Voice
from topologies.plan import Plan

__all__ = ["ControlLoop"]

LOG = logging.getLogger("controller.loop")
SETTLE_EVERY_S = 1.0

LOGGED = "logged"
"""The topic of who waits for the log to grow."""

FORCE_S = 5.0
"""How long an answer may wait until what it says is in force."""


class ControlLoop:
    """The world and the switches that follow it. All times are those of ``clock``."""

    def __init__(self, plan: Plan, store: Store, clock: BookClock) -> None:
        """Take up the world where the store left it. Raises StoreError."""
        self.clock = clock
        self.fault: str | None = None
        """Why events cannot be stored; None while all is well."""
        self._store = store
        self._news = News()
        self._notes: list[Record] = []
        last = store.last()
        self._number = 0 if last is None else last.number
        world = World.lent(plan, store.load()).after(*store.settings())
        self._now = Configuration.of(world)
        self.switches: Mapping[str, Switch] = {
            name: Switch(plan, plan.switch(name), program, self._news, store.leader.generation)
            for name, program in self._now.programs().items()
        }
        self.voices: Mapping[str, Voice] = {
            pop: Voice(pop, told, self._news) for pop, told in announcements(world).items()
        }

    @property
    def world(self) -> World:
        """What is true now."""
        return self._now.world

    @property
    def routes(self) -> Routes:
        """Next hops by now."""
        return self._now.routes

    @property
    def ranking(self) -> Ranking:
        """Every city's PoPs by now, best first."""
        return self._now.ranking

    def nearby(self, pop: str) -> Iterator[str]:
        """The other PoPs, nearest first."""
        return nearby(self.world, pop)

    # -- events

    def happen(self, *events: Event) -> GreenThread | None:
        """These events are true from now on, and durable; the switches follow.

        The thread that is returned ends when every switch and every BGP speaker that is there has
        confirmed all of it; None if none is touched. Gives way to no other work. Raises
        UnknownError, StoreError; nothing has happened then.
        """
        after, phases, events = follow(self._now, *events)
        self._keep(*events)
        self._now = after
        for phase in phases:
            for name, steps in phase.items():
                self.switches[name].aim(steps)
        told = announcements(after.world)
        voices = [voice for pop, voice in self.voices.items() if voice.aim(told[pop])]
        for event in events:
            if isinstance(event, CityHeld):
                self._converge_later(event.city)
        return eventlet.spawn(self._follow, phases, voices) if phases or voices else None

    def observe(self, *events: Event) -> bool:
        """Let happen what the network itself tells, which nobody waits for; whether it is durable.

        What is not is logged, and may be seen again.
        """
        try:
            if events:
                self.happen(*events)
        except StoreError as error:
            LOG.error("%s", error)
            return False
        return True

    def _converge_later(self, city: str) -> None:
        """Let a city hear of the changes when its time has come."""
        after_ns = delay_ns(city, self.world.plan.network.convergence_ns)
        eventlet.spawn_after(after_ns / 1e9, self._converge, city)

    def _converge(self, city: str) -> None:
        if city in self.world.held and not self.observe(CityConverged(city)):
            eventlet.spawn_after(SETTLE_EVERY_S, self._converge, city)

    def settle_for_ever(self) -> None:
        """Forget what was before changes that are long ago. Runs in a thread of its own."""
        for city in self.world.held:  # who had not heard before this controller led
            self._converge_later(city)
        linger = Linger(self.world.plan.network.linger_ns)
        while True:
            eventlet.sleep(SETTLE_EVERY_S)
            self.observe(*linger.settled(self.world, self.clock.now_ns()))

    def note(self, note: Note) -> None:
        """Put into the log what changes nothing; it is durable with the next event or flush."""
        self._notes.append(self._record(note))

    def write(self, note: Note) -> None:
        """Put it there durably, now. Raises StoreError; then it is not there."""
        self._notes.append(self._record(note))
        try:
            self._keep()
        except BaseException:
            self._notes.pop()
            raise

    def flush(self) -> None:
        """Make what was noted durable, and see whether a fault lasts. Raises StoreError."""
        if self._notes or self.fault is not None:
            self._keep()

    def _keep(self, *events: Event) -> None:
        records = [*self._notes, *map(self._record, events)]
        number = self._number
        numbered = [
            Record(number + n, x.at_ns, x.monotonic_ns, x.event) for n, x in enumerate(records, 1)
        ]
        try:
            self._store.commit(numbered)
        except StoreError as error:
            self.fault = str(error)
            raise
        self.fault = None
        self._number += len(records)
        self._notes.clear()
        self._news.tell(LOGGED)

    def _record(self, event: Event | Note) -> Record:
        return Record(0, self.clock.now_ns(), time.monotonic_ns(), event)

    def records(self, after: int, wait_s: float = 0.0) -> tuple[Record, ...]:
        """The log after this number; if there is nothing yet, wait for it so long.

        Raises StoreError.
        """
        self.flush()
        with eventlet.Timeout(wait_s, False):
            self._news.wait(lambda: None if self._number > after else LOGGED)
        return self._store.records(after)

    # -- phases

    def _follow(self, phases: Sequence[Phase], voices: Sequence[Voice]) -> None:
        """Send each phase when the one before is in force; return when all are, and announced."""
        for phase in phases:
            for name, steps in phase.items():
                self.switches[name].send(steps)
            self._news.wait(partial(self._unsettled, phase))
        self._news.wait(lambda: next((voice for voice in voices if not voice.settled), None))

    def _unsettled(self, phase: Phase) -> Topic | None:
        found = (self.switches[name].unsettled(steps) for name, steps in phase.items())
        return next(chain.from_iterable(found), None)

    # -- answers

    def wait_in_force(self, lease: Lease) -> None:
        """Return when a lease is in force wherever its packets may go. Raises SwitchError.

        That is at its holder's PoP, and at every other that is connected: one that is not may
        lose its replies. None gives them to another holder, whether connected or not.
        """
        plan = self.world.plan
        needed = borrowed_rules(plan, [lease], {lease.address: lease.home})
        holder = plan.edge(lease.pop).name

        def lacking() -> Iterator[Topic]:
            return chain(self._lacking(needed, holder), self.serving(lease, but=holder))

        error = SwitchError("")
        try:
            with eventlet.Timeout(FORCE_S, error):
                self._news.wait(lambda: next(lacking(), None))
        except SwitchError as raised:
            if raised is not error:
                raise
            what = f"{lease.address} port {lease.first_port} of {lease.server}"
            names = ", ".join(dict.fromkeys(name for name, _ in lacking()))
            raise SwitchError(f"{what} is not in force at {names}") from None

    def serving(self, lease: Lease, *, but: str = "") -> Iterator[Topic]:
        """What may serve a holder of these ports at the switches, but one, as far as is known.

        A switch that has not been read since this controller began is not known.
        """
        keys = return_keys(lease)
        for edge in self.world.plan.edges:
            if edge.name != but and not self.switches[edge.name].programmed:
                yield from self.switches[edge.name].may_hold(keys)

    def _lacking(self, needed: SwitchRules, holder: str) -> Iterator[Topic]:
        """What the switches have not confirmed of what is needed of them."""
        for name, rules in needed.items():
            if name == holder or self.switches[name].connected:
                yield from self.switches[name].lacking(rules)
