"""Events on their way to the switches: order, answers that wait, restarts, faults."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import eventlet
import pytest

from controller import loop as loops
from controller.clock import BookClock
from controller.core.events import (
    CityConverged,
    HealthSet,
    LeaseChanged,
    Mark,
    OverrideSet,
    PopSet,
    PopState,
    PortStatus,
    SwitchSet,
    WeightSet,
)
from controller.core.lease import Lease
from controller.core.rules import Duty, duty_of
from controller.core.world import UnknownError
from controller.session import SwitchError
from controller.store import StoreError
from tests.fakes.inside import PLAN, Inside, Memory, fresh, inside
from topologies.plan import HostPlan, plan

ONE, TWO = PLAN.host("LHR-s1"), PLAN.host("LHR-s2")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FORCE_S", 0.02)


def duties(w: Inside, switch: str) -> set[Duty | None]:
    return {duty_of(rule.cookie) for rule in w.installed()[switch].rules}


def ask(w: Inside, server: HostPlan) -> Lease:
    lease, _ = w.lender.lend(server)
    w.settle()
    return w.lender.keep(server, lease.address, lease.first_port)


def test_a_source_is_let_in_when_every_pop_knows_the_way_back() -> None:
    w = inside()
    w.wires["eARN"].hold = True
    w.lender.lend(ONE)
    w.settle()
    assert Duty.RETURN in duties(w, "eLHR")
    assert Duty.ADMIT_LEASE not in duties(w, "eLHR")
    w.release("eARN")
    w.settle()
    assert Duty.ADMIT_LEASE in duties(w, "eLHR")


def test_who_goes_away_meanwhile_is_not_waited_for() -> None:
    w = inside()
    w.wires["eARN"].hold = True
    w.lender.lend(ONE)
    w.settle()
    w.switches["eARN"].disconnect()
    w.settle()
    assert Duty.ADMIT_LEASE in duties(w, "eLHR")
    w.connect("eARN")
    w.settle()
    assert w.installed() == w.desired()


def test_what_was_taken_back_meanwhile_is_not_let_in() -> None:
    w = inside()
    w.wires["eARN"].hold = True
    lease, _ = w.lender.lend(ONE)
    w.settle()
    w.lender.revoke(lease.address, lease.first_port)
    w.release("eARN")
    w.settle()
    assert w.installed() == w.desired()
    assert not {Duty.ADMIT_LEASE, Duty.RETURN} & duties(w, "eLHR")


def test_an_answer_waits_for_every_pop_that_is_there_and_names_the_one_that_lacks() -> None:
    w = inside()
    w.wires["eARN"].hold = True
    with pytest.raises(SwitchError, match="is not in force at eLHR, eARN"):
        ask(w, ONE)
    w.release("eARN")
    w.settle()
    assert ask(w, ONE).live


def test_a_second_lease_of_an_address_waits_for_its_home_as_the_first_did() -> None:
    w = inside()
    w.wires["eARN"].hold = True
    w.lender.lend(ONE)
    w.settle()
    with pytest.raises(SwitchError, match="eARN"):
        ask(w, TWO)
    w.release("eARN")
    w.settle()
    assert ask(w, TWO).address == w.lender.lend(ONE)[0].address


def test_a_pop_that_is_away_holds_up_nobody_but_its_own() -> None:
    w = inside()
    w.switches["eARN"].disconnect()
    assert ask(w, ONE).live
    with pytest.raises(SwitchError, match="eARN"):
        ask(w, PLAN.host("ARN-s1"))
    w.connect("eARN")
    w.settle()
    assert ask(w, PLAN.host("ARN-s1")).live


def test_after_a_restart_nothing_is_in_force_before_the_switch_has_said_so() -> None:
    store, clock, tables = fresh()
    lease = ask(Inside(store, clock, tables), ONE)
    again = Inside(store, clock, tables)
    again.switches["eLHR"].disconnect()  # known by now
    assert again.lender.keep(ONE, lease.address, lease.first_port).live
    later = Inside(store, clock, tables)
    later.connect("eLHR", hold=True)
    later.loop.switches["eLHR"]._confirmed.clear()
    with pytest.raises(SwitchError, match="eLHR"):
        later.lender.keep(ONE, lease.address, lease.first_port)
    later.release("eLHR")
    later.settle()
    assert later.lender.keep(ONE, lease.address, lease.first_port).live


def test_settings_reach_the_switches_and_outlive_a_restart() -> None:
    store, clock, tables = fresh()
    w = Inside(store, clock, tables)
    before = w.installed()
    events = (
        PopSet("LHR", PopState.DRAINED),
        OverrideSet("ARN", "FCO"),
        WeightSet("FCO-s1", 3),
        HealthSet("FCO-s2", False),
        PortStatus("tLHR", 1, False),
    )
    for event in events:
        w.loop.happen(event)
        w.settle()
        assert w.installed() == w.desired()
    after = w.installed()
    assert after != before
    again = Inside(store, clock, tables)
    assert again.installed() == after
    assert again.loop.world == w.loop.world
    assert sum(switch.changes for switch in again.switches.values()) == 0


def test_an_event_that_cannot_be_or_cannot_be_stored_has_not_happened() -> None:
    w = inside()
    before = w.loop.world
    with pytest.raises(UnknownError, match="triangle has no PoP CDG; it has ARN, FCO, LHR"):
        w.loop.happen(PopSet("CDG", PopState.DRAINED))
    w.store.broken = True
    with pytest.raises(StoreError):
        w.loop.happen(PopSet("LHR", PopState.DRAINED))
    assert w.loop.fault == "no space left"
    assert w.loop.world == before
    assert w.store.records() == ()


def test_notes_are_kept_in_order_with_what_happens_next() -> None:
    w = inside()
    w.loop.note(SwitchSet("eLHR", True))
    w.loop.note(Mark("begin"))
    assert w.store.commits == 0
    w.lender.lend(ONE)
    w.loop.note(Mark("end"))
    w.lender.sweep()
    kinds = [type(record.event) for record in w.store.records()]
    assert kinds == [SwitchSet, Mark, LeaseChanged, Mark]
    assert [record.number for record in w.store.records()] == [1, 2, 3, 4]
    times = [record.at_ns for record in w.store.records()]
    assert times == sorted(times)


@pytest.mark.parametrize("held", ["eARN", "eLHR"])
def test_a_crash_between_any_two_phases_loses_nothing(held: str) -> None:
    """The switch that had not confirmed is as it was, or has taken its part: both are put right."""
    for took_it in (False, True):
        store, clock, tables = fresh()
        w = Inside(store, clock, tables)
        w.wires[held].hold = True
        kept = dict(tables[held].flows)
        lease, _ = w.lender.lend(ONE)
        w.settle()
        if not took_it:
            tables[held].flows = kept
        for wire in w.wires.values():
            wire.alive = False
        again = Inside(store, clock, tables)
        assert again.lender.keep(ONE, lease.address, lease.first_port).live
        again.settle()
        assert again.installed() == again.desired()
        again.lender.give_back(ONE, lease.address, lease.first_port)
        again.settle()
        assert again.installed() == again.desired()


def test_cities_converge_one_after_the_other_and_a_new_leader_goes_on() -> None:
    slow = plan(replace(PLAN.network, convergence_ns=20_000_000))
    store = Memory()
    loop = loops.ControlLoop(slow, store, BookClock())
    loop.happen(PopSet("LHR", PopState.WITHDRAWN))
    assert loop.ranking["LHR"][0] == "LHR"
    store = deepcopy(store)  # another controller leads before any has heard
    again = loops.ControlLoop(slow, store, BookClock())
    assert dict(again.world.held) == dict(loop.world.held)
    assert set(again.world.held) == {"LHR", "ARN", "FCO"}
    settling = eventlet.spawn(again.settle_for_ever)
    with eventlet.Timeout(5):
        while again.world.held:
            eventlet.sleep(0.005)
    settling.kill()
    assert all("LHR" not in pops for pops in again.ranking.values())
    heard = [x.event.city for x in store.log if isinstance(x.event, CityConverged)]
    assert sorted(heard) == sorted(set(heard)) == ["ARN", "FCO", "LHR"]
