"""Lending in force: book, store and switches agree after every verb, whatever fails."""

from __future__ import annotations

import contextlib
from functools import partial

import eventlet
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.clock import BookClock
from controller.core.events import Event
from controller.core.lease import (
    SECOND,
    LeaseState,
    LendingError,
    PoolExhaustedError,
    QuotaError,
    UnknownTagError,
)
from controller.core.world import World
from controller.store import StoreError
from tests.core.controller.event_strategies import settings_of
from tests.fakes.inside import PLAN, SERVERS, TERMS, Inside, fresh
from topologies.plan import HostPlan


def test_a_lease_is_in_force_when_it_is_kept() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    server = PLAN.host("LHR-s1")
    lease = world.lender.lend(server)
    kept = world.lender.keep(server, lease.address, lease.first_port)
    assert kept.until_ns == clock.at + TERMS.lifetime_ns
    assert store.load() == (kept,)
    assert world.installed() == world.desired()


def test_a_renewal_touches_no_switch() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    server = PLAN.host("LHR-s1")
    lease = world.lender.lend(server)
    world.settle()
    for switch in world.switches.values():
        switch.disconnect()
    clock.at += SECOND
    kept = world.lender.keep(server, lease.address, lease.first_port)
    assert kept.until_ns == clock.at + TERMS.lifetime_ns


def test_an_offer_lapses_by_itself() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    lease = world.lender.lend(PLAN.host("LHR-s1"))
    clock.at += 11 * SECOND
    world.lender.sweep()
    entry = world.book.lease(lease.address, lease.first_port)
    assert entry is not None
    assert entry.state is LeaseState.QUARANTINED
    world.settle()
    assert world.installed() == world.desired()


def test_nothing_happens_that_was_not_stored() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    before = world.desired()
    store.broken = True
    with pytest.raises(StoreError, match="no space"):
        world.lender.lend(PLAN.host("LHR-s1"))
    assert world.loop.fault == "no space left"
    world.settle()
    assert world.book.entries() == ()
    assert world.installed() == before


def test_who_asks_again_is_told_the_same_and_nothing_is_written() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    server = PLAN.host("LHR-s1")
    lease = world.lender.lend(server)
    clock.at += 4 * SECOND
    assert world.lender.lend(server) == lease
    assert store.commits == 1
    clock.at += 2 * SECOND  # less than half of the offer's ten seconds is left
    assert world.lender.lend(server).until_ns == clock.at + 10 * SECOND
    assert store.commits == 2


def test_a_server_that_borrows_and_returns_in_a_loop_leaves_the_others_theirs() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    greedy, modest = PLAN.host("LHR-s1"), PLAN.host("LHR-s2")
    for _ in range(TERMS.sets_per_server):
        lease = world.lender.lend(greedy)
        world.lender.give_back(greedy, lease.address, lease.first_port)
    with pytest.raises(QuotaError, match="wait for a quarantine to end"):
        world.lender.lend(greedy)
    assert world.lender.lend(modest).live
    clock.at += TERMS.quarantine_ns + SECOND
    world.settle()
    world.lender.sweep()
    assert world.lender.lend(greedy).live


def told(world: Inside) -> list[tuple[str, str, bool]]:
    """Who was told of a set that stands so, or stood, and whether that was in force."""
    found = [(server, lease.state.value, in_force) for server, lease, in_force in world.told]
    world.told.clear()
    return found


def test_who_loses_a_set_is_told_at_once_and_who_gets_it_when_it_is_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controller.lender.TELL_AGAIN_S", (0.0, 0.0))
    world = Inside(*fresh())
    one, other = PLAN.host("LHR-s1"), PLAN.host("FCO-s1")
    lease, _ = world.lender.acquire(one, "any", client_id="web")
    world.settle()
    assert told(world) == []
    at = lease.key
    world.wires["eFCO"].hold = True
    world.lender.move(*at, other)
    world.settle()
    assert [x[:2] for x in told(world)] == [("LHR-s1", "lent")]  # FCO's switch is not ready yet
    world.release("eFCO")
    world.settle()
    assert told(world) == [("FCO-s1", "lent", True)] * 2  # it has not asked
    world.lender.move(*at, one, 5 * SECOND)
    world.settle()
    assert told(world) == []  # it may finish
    clock_s = world.lender.seconds_left(world.lender.keep(other, *at))
    assert clock_s == 5  # it gets no more time
    world.clock.at += 6 * SECOND
    world.lender.sweep()
    world.clock.at += 1
    world.lender.keep(one, *at)  # it asks at once
    world.settle()
    assert [x[:2] for x in told(world)] == [("FCO-s1", "draining")]
    world.lender.revoke(*at)
    world.settle()
    assert [x[:2] for x in told(world)] == [("LHR-s1", "lent")]


def test_who_returns_a_set_or_lets_it_lapse_is_told_nothing() -> None:
    world = Inside(*fresh())
    server = PLAN.host("LHR-s1")
    lease = world.lender.lend(server)
    world.lender.give_back(server, *lease.key)
    world.lender.lend(server)
    world.clock.at += TERMS.lifetime_ns
    world.lender.sweep()
    world.settle()
    assert world.told == []


def test_sweeping_goes_on_after_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    monkeypatch.setattr("controller.lender.SWEEP_S", 0)
    lease = world.lender.lend(PLAN.host("LHR-s1"))
    clock.at += 11 * SECOND
    store.broken = True
    sweeper = eventlet.spawn(world.lender.sweep_for_ever)
    world.settle()
    assert world.loop.fault == "no space left"
    store.broken = False
    world.settle()
    sweeper.kill()
    assert world.loop.fault is None
    entry = world.book.lease(lease.address, lease.first_port)
    assert entry is not None
    assert entry.state is LeaseState.QUARANTINED


def test_a_fault_lasts_until_something_is_stored() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    server, other = PLAN.host("LHR-s1"), PLAN.host("LHR-s2")
    lease = world.lender.lend(server)
    world.lender.give_back(server, lease.address, lease.first_port)
    world.switches["eLHR"].disconnect()
    clock.at += 100 * SECOND
    store.broken = True
    with pytest.raises(StoreError):
        world.lender.lend(other)
    world.lender.sweep()  # due, but its switch is away: there is nothing to store
    assert world.loop.fault == "no space left"
    store.broken = False
    world.lender.lend(other)
    assert world.loop.fault is None


def test_a_set_is_not_free_before_its_switch_forgot_it() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    lease = world.lender.lend(PLAN.host("LHR-s1"))
    world.settle()
    world.switches["eLHR"].disconnect()
    for _ in range(3):
        clock.at += 100 * SECOND
        world.lender.sweep()
    entry = world.book.lease(lease.address, lease.first_port)
    assert entry is not None
    assert entry.state is LeaseState.QUARANTINED
    world.connect("eLHR")
    world.settle()
    world.lender.sweep()
    assert world.book.lease(lease.address, lease.first_port) is None


def test_time_never_repeats_over_a_restart() -> None:
    ahead = BookClock().now_ns() + 3600 * SECOND
    assert BookClock(ahead).now_ns() > ahead


def test_wishes_that_come_together_are_stored_by_one_write() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    wishes = [eventlet.spawn(world.lender.lend, server) for server in SERVERS]
    leases = [wish.wait() for wish in wishes]
    assert len({lease.key for lease in leases}) == len(SERVERS)
    assert sorted(lease.number for lease in leases) == [1, 2, 3, 4, 5, 6]
    assert store.commits == 1
    world.settle()
    assert world.installed() == world.desired()


def test_a_wish_that_cannot_be_is_its_wishers_alone() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    good = eventlet.spawn(world.lender.lend, SERVERS[0])
    bad = eventlet.spawn(world.lender.lend, SERVERS[1], "no such tag")
    also = eventlet.spawn(world.lender.lend, SERVERS[2])
    assert good.wait().live
    assert also.wait().live
    with pytest.raises(UnknownTagError):
        bad.wait()
    assert store.commits == 1


def test_wishes_that_cannot_be_stored_have_not_been() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    kept = world.lender.lend(SERVERS[0])
    store.broken = True
    clock.at += SECOND
    wishes = [
        eventlet.spawn(world.lender.lend, SERVERS[1]),
        eventlet.spawn(world.lender.revoke, *kept.key),
        eventlet.spawn(world.lender.lend, SERVERS[2]),
    ]
    for wish in wishes:
        with pytest.raises(StoreError, match="no space"):
            wish.wait()
    assert world.book.entries() == (kept,)
    store.broken = False
    assert world.lender.lend(SERVERS[1]).number > kept.number
    world.settle()
    assert store.load() == world.book.entries()
    assert world.installed() == world.desired()


class Lending(RuleBasedStateMachine):
    """Any order of verbs, settings, waits, lost connections and crashes of the controller."""

    @initialize()
    def begin(self) -> None:
        self.store, self.clock, self.tables = fresh()
        self.world = Inside(self.store, self.clock, self.tables)

    @rule(server=st.sampled_from(SERVERS), take=st.booleans())
    def lend(self, server: object, take: bool) -> None:
        with contextlib.suppress(PoolExhaustedError, QuotaError):
            lease = self.world.lender.lend(server)  # type: ignore[arg-type]
            if take:
                self.world.settle()
                self.world.lender.keep(server, lease.address, lease.first_port)  # type: ignore[arg-type]

    @rule(server=st.sampled_from(SERVERS), pick=st.integers(0, 5))
    def give_back(self, server: object, pick: int) -> None:
        live = self.world.book.live()
        if live:
            lease = live[pick % len(live)]
            with contextlib.suppress(LendingError):  # not its own
                self.world.lender.give_back(server, lease.address, lease.first_port)  # type: ignore[arg-type]

    @rule(pick=st.integers(0, 5))
    def revoke(self, pick: int) -> None:
        live = self.world.book.live()
        if live:
            lease = live[pick % len(live)]
            self.world.lender.revoke(lease.address, lease.first_port)

    @rule(pick=st.integers(0, 5), heir=st.sampled_from(SERVERS), drain=st.none() | st.just(SECOND))
    def move(self, pick: int, heir: HostPlan, drain: int | None) -> None:
        live = self.world.book.live()
        if live:
            with contextlib.suppress(LendingError):
                self.world.lender.move(*live[pick % len(live)].key, heir, drain)

    @rule(
        wishes=st.lists(st.tuples(st.sampled_from(SERVERS), st.sampled_from("ab")), max_size=5),
        pick=st.integers(0, 5),
    )
    def at_once(self, wishes: list[tuple[HostPlan, str]], pick: int) -> None:
        """Many wishes, and one that a set be taken away, before any is carried out."""
        lender, live = self.world.lender, self.world.book.live()
        acts = [partial(lender.acquire, server, "any", client_id=x) for server, x in wishes]
        if live:
            acts.insert(len(acts) // 2, partial(lender.revoke, *live[pick % len(live)].key))
        for thread in [eventlet.spawn(act) for act in acts]:
            with contextlib.suppress(LendingError):
                thread.wait()

    @rule(seconds=st.sampled_from([1, 12, 31, 70]))
    def wait(self, seconds: int) -> None:
        self.clock.at += seconds * SECOND
        self.world.lender.sweep()

    @rule(name=st.sampled_from([switch.name for switch in PLAN.edges]), lost=st.booleans())
    def reconnect(self, name: str, lost: bool) -> None:
        self.world.switches[name].disconnect()
        if lost:
            self.tables[name].flows.clear()
            self.tables[name].groups.clear()
        self.lend(SERVERS[0], take=False)
        self.world.connect(name)

    @rule(event=settings_of(PLAN))
    def set(self, event: Event) -> None:
        self.world.loop.happen(event)

    @rule()
    def crash(self) -> None:
        self.world = Inside(self.store, self.clock, self.tables)

    @invariant()
    def all_agree(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.settle()
        assert self.store.load() == self.world.book.entries()
        assert self.world.installed() == self.world.desired()
        events = [record.event for record in self.store.records()]
        replayed = World(PLAN).after(*(event for event in events if isinstance(event, Event)))
        assert self.world.loop.world == replayed


Lending.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestLending = Lending.TestCase
