"""Lending in force: book, store and switches agree after every verb, whatever fails."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from unittest.mock import patch

import eventlet
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.clock import BookClock
from controller.core.events import Event
from controller.core.lease import (
    SECOND,
    BadEntryError,
    Lease,
    LeaseState,
    LendingError,
    NotHeldError,
    PoolExhaustedError,
    QuotaError,
    UnknownTagError,
    check_places,
)
from controller.core.rules import Duty, duty_of
from controller.core.world import World
from controller.session import SwitchError
from controller.store import StoreError
from tests.core.controller.event_strategies import settings_of
from tests.fakes.inside import PLAN, SERVERS, TERMS, Inside, fresh
from topologies.plan import HostPlan, HostRole, plan


def test_a_lease_is_in_force_when_it_is_kept() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    server = PLAN.host("LHR-s1")
    lease, _ = world.lender.lend(server)
    kept = world.lender.keep(server, lease.address, lease.first_port)
    assert kept.until_ns == clock.at + TERMS.lifetime_ns
    assert store.load() == (kept,)
    assert world.installed() == world.desired()


def test_a_renewal_touches_no_switch() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    server = PLAN.host("LHR-s1")
    lease, _ = world.lender.lend(server)
    world.settle()
    for switch in world.switches.values():
        switch.disconnect()
    clock.at += SECOND
    kept = world.lender.keep(server, lease.address, lease.first_port)
    assert kept.until_ns == clock.at + TERMS.lifetime_ns


def test_an_offer_lapses_by_itself() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    lease, _ = world.lender.lend(PLAN.host("LHR-s1"))
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
    lease, _ = world.lender.lend(server)
    clock.at += 4 * SECOND
    assert world.lender.lend(server)[0] == lease
    assert store.commits == 1
    clock.at += 2 * SECOND  # less than half of the offer's ten seconds is left
    assert world.lender.lend(server)[0].until_ns == clock.at + 10 * SECOND
    assert store.commits == 2


def test_a_server_that_borrows_and_returns_in_a_loop_leaves_the_others_theirs() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    greedy, modest = PLAN.host("LHR-s1"), PLAN.host("LHR-s2")
    for _ in range(TERMS.sets_per_server):
        lease, _ = world.lender.lend(greedy)
        world.lender.give_back(greedy, lease.address, lease.first_port)
    with pytest.raises(QuotaError, match="wait for a quarantine to end"):
        world.lender.lend(greedy)
    assert world.lender.lend(modest)[0].live
    clock.at += TERMS.quarantine_ns + SECOND
    world.settle()
    world.lender.sweep()
    assert world.lender.lend(greedy)[0].live


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
    lease, _ = world.lender.lend(server)
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
    lease, _ = world.lender.lend(PLAN.host("LHR-s1"))
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
    lease, _ = world.lender.lend(server)
    world.lender.give_back(server, lease.address, lease.first_port)
    world.switches["eLHR"].disconnect()
    clock.at += 100 * SECOND
    store.broken = True
    with pytest.raises(StoreError):
        world.lender.lend(other)
    with pytest.raises(StoreError):  # due, but its switch is away: there is nothing else to store
        world.lender.sweep()
    assert world.loop.fault == "no space left"
    store.broken = False
    world.lender.lend(other)
    assert world.loop.fault is None


def test_a_set_is_not_free_before_its_switch_forgot_it() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    lease, _ = world.lender.lend(PLAN.host("LHR-s1"))
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


def moved_from_a_switch_that_went_away(world: Inside) -> Lease:
    """A set that LHR's switch may still serve, though the book says that FCO's server has it."""
    lease, _ = world.lender.lend(PLAN.host("LHR-s1"))
    world.settle()
    world.wires["eLHR"].alive = False  # what is sent is lost
    moved, _ = world.lender.move(*lease.key, PLAN.host("FCO-s1"))
    world.settle()
    assert not world.switches["eLHR"].connected
    return moved


def test_an_heir_is_acknowledged_when_its_holders_switch_has_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controller.loop.FORCE_S", 0.01)
    world = Inside(*fresh())
    moved = moved_from_a_switch_that_went_away(world)
    with pytest.raises(SwitchError, match="not in force at eLHR"):
        world.lender.keep(PLAN.host("FCO-s1"), *moved.key)
    world.connect("eLHR")
    world.settle()
    assert world.lender.keep(PLAN.host("FCO-s1"), *moved.key).live


def test_a_set_is_not_free_before_every_switch_that_served_it_forgot_it() -> None:
    world = Inside(*fresh())
    moved = moved_from_a_switch_that_went_away(world)
    world.lender.give_back(PLAN.host("FCO-s1"), *moved.key)
    for _ in range(3):
        world.clock.at += 100 * SECOND
        world.settle()
        world.lender.sweep()
    entry = world.book.lease(*moved.key)
    assert entry is not None
    assert entry.state is LeaseState.QUARANTINED
    world.connect("eLHR")
    world.settle()
    world.lender.sweep()
    assert world.book.lease(*moved.key) is None


def test_no_set_is_moved_from_a_switch_that_cannot_be_told() -> None:
    world = Inside(*fresh())
    heir = PLAN.host("FCO-s1")
    at_once, drained = (
        world.lender.acquire(PLAN.host("LHR-s1"), "any", client_id=name)[0] for name in "ab"
    )
    world.lender.move(*drained.key, heir, SECOND)
    world.settle()
    world.switches["eLHR"].disconnect()
    with pytest.raises(SwitchError, match="eLHR is not connected, and would go on serving LHR-s1"):
        world.lender.move(*at_once.key, heir)
    other = world.lender.acquire(PLAN.host("FCO-s2"), "any")[0]
    world.lender.move(*other.key, heir, SECOND)
    world.clock.at += 2 * SECOND
    world.lender.sweep()
    assert [world.book.lease(*x.key).server for x in (drained, other)] == ["LHR-s1", "FCO-s1"]  # type: ignore[union-attr]
    world.connect("eLHR")
    world.settle()
    world.lender.sweep()
    assert world.book.lease(*drained.key).server == "FCO-s1"  # type: ignore[union-attr]


def test_what_may_not_end_yet_holds_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.lender.PORTION", 1)
    world = Inside(*fresh())
    moved = moved_from_a_switch_that_went_away(world)
    other, _ = world.lender.lend(PLAN.host("FCO-s2"))
    world.lender.give_back(PLAN.host("FCO-s1"), *moved.key)
    world.clock.at += SECOND
    world.lender.give_back(PLAN.host("FCO-s2"), *other.key)
    world.settle()
    world.clock.at += 100 * SECOND
    world.lender.sweep()
    assert [lease.key for lease in world.book.entries()] == [moved.key]


@pytest.mark.parametrize("heir", [None, "FCO-s1"])
def test_who_loses_a_set_while_it_asks_for_it_is_not_told_that_it_has_it(heir: str | None) -> None:
    world = Inside(*fresh())
    server = PLAN.host("LHR-s1")
    lease, _ = world.lender.lend(server)
    world.settle()
    world.wires["eLHR"].hold = True  # its rules are there until it says otherwise
    asked = eventlet.spawn(world.lender.keep, server, *lease.key)
    lost = (
        eventlet.spawn(world.lender.revoke, *lease.key)
        if heir is None
        else eventlet.spawn(world.lender.move, *lease.key, PLAN.host(heir))
    )
    lost.wait()
    with pytest.raises(NotHeldError):
        asked.wait()


def test_an_idle_lab_is_well_again_when_its_store_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Inside(*fresh())
    monkeypatch.setattr("controller.lender.SWEEP_S", 0)
    world.store.broken = True
    with pytest.raises(StoreError):
        world.lender.lend(PLAN.host("LHR-s1"))
    sweeper = eventlet.spawn(world.lender.sweep_for_ever)
    world.settle()
    assert world.loop.fault == "no space left"
    world.store.broken = False
    world.settle()
    sweeper.kill()
    assert world.loop.fault is None


def test_whatever_stops_a_change_leaves_the_book_as_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Inside(*fresh())
    lease, _ = world.lender.lend(PLAN.host("LHR-s1"))
    monkeypatch.setattr(world.loop, "happen", {}.__getitem__)
    world.clock.at += 100 * SECOND
    with pytest.raises(KeyError):
        world.lender.sweep()
    assert world.book.entries() == (lease,) == world.store.load()


@pytest.mark.parametrize(
    ("pops", "kept", "cause"),
    [
        (("LHR", "ARN", "FCO"), 1, "no server ARN-s2 in ARN"),  # the heir of a set that drains
        (("LHR", "FCO"), 2, "no server ARN-s2 in ARN"),
        (("LHR", "ARN"), 2, "no PoP FCO with servers"),  # of a set in quarantine
        (("LHR", "ARN", "FCO"), 2, None),
    ],
)
def test_a_stored_set_whose_heir_or_pop_is_gone_is_refused_at_once(
    pops: tuple[str, ...], kept: int, cause: str | None
) -> None:
    world = Inside(*fresh())
    drains, _ = world.lender.lend(PLAN.host("LHR-s1"))
    abroad, _ = world.lender.acquire(PLAN.host("LHR-s2"), "any")
    assert abroad.address == drains.address  # so it stays at home in LHR
    world.lender.move(*drains.key, PLAN.host("ARN-s2"), SECOND)
    world.lender.move(*abroad.key, PLAN.host("FCO-s1"))
    world.lender.revoke(*abroad.key)
    network = PLAN.network
    left = tuple(replace(pop, servers=kept) for pop in network.pops if pop.city in pops)
    smaller = plan(replace(network, pops=left))
    homes = {host.name: host.city for host in smaller.hosts_of(HostRole.SERVER)}
    refused = pytest.raises(BadEntryError, match=cause) if cause else contextlib.nullcontext()
    with refused:
        check_places(world.store.load(), homes)


def test_time_never_repeats_over_a_restart() -> None:
    ahead = BookClock().now_ns() + 3600 * SECOND
    assert BookClock(ahead).now_ns() > ahead


def test_wishes_that_come_together_are_stored_by_one_write() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    wishes = [eventlet.spawn(world.lender.lend, server) for server in SERVERS]
    leases = [wish.wait()[0] for wish in wishes]
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
    assert good.wait()[0].live
    assert also.wait()[0].live
    with pytest.raises(UnknownTagError):
        bad.wait()
    assert store.commits == 1


def test_wishes_that_cannot_be_stored_have_not_been() -> None:
    store, clock, tables = fresh()
    world = Inside(store, clock, tables)
    kept, _ = world.lender.lend(SERVERS[0])
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
    assert world.lender.lend(SERVERS[1])[0].number > kept.number
    world.settle()
    assert store.load() == world.book.entries()
    assert world.installed() == world.desired()


class Lending(RuleBasedStateMachine):
    """Any order of verbs, settings, waits, lost connections and crashes of the controller."""

    @initialize()
    def begin(self) -> None:
        self.patience = patch("controller.loop.FORCE_S", 0.01)
        self.patience.start()
        self.store, self.clock, self.tables = fresh()
        self.world = Inside(self.store, self.clock, self.tables)

    def teardown(self) -> None:
        if hasattr(self, "patience"):
            self.patience.stop()

    @rule(server=st.sampled_from(SERVERS), take=st.booleans())
    def lend(self, server: object, take: bool) -> None:
        with contextlib.suppress(PoolExhaustedError, QuotaError, SwitchError):
            lease, _ = self.world.lender.lend(server)  # type: ignore[arg-type]
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
            with contextlib.suppress(LendingError, SwitchError):
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

    @rule(name=st.sampled_from([switch.name for switch in PLAN.edges]))
    def away(self, name: str) -> None:
        """From now on nothing reaches a switch, which goes on with what it has."""
        self.world.wires[name].alive = False

    @rule()
    def back(self) -> None:
        for name in self.away_now():
            self.world.switches[name].disconnect()
            self.world.connect(name)

    def away_now(self) -> list[str]:
        return [name for name, wire in self.world.wires.items() if not wire.alive]

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
        if not self.away_now():
            assert self.world.installed() == self.world.desired()
        events = [record.event for record in self.store.records()]
        replayed = World(PLAN).after(*(event for event in events if isinstance(event, Event)))
        assert self.world.loop.world == replayed

    @invariant()
    def what_a_switch_serves_is_not_free(self) -> None:
        if not hasattr(self, "world"):
            return
        for name, program in self.world.installed().items():
            for rule_ in program.rules:
                if duty_of(rule_.cookie) is Duty.RETURN:
                    (port,) = (x.value for x in rule_.match if x.field in ("tcp_dst", "udp_dst"))
                    address = IPv4Address(rule_.cookie & 0xFFFFFFFF)
                    assert self.world.book.lease(address, port) is not None, name


Lending.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestLending = Lending.TestCase
