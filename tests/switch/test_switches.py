"""Programming one switch: fresh, right already, wrong, refusing, vanishing."""

from __future__ import annotations

from dataclasses import replace

import eventlet
import pytest

from controller import openflow
from controller.core import pipeline
from controller.core.reconcile import AddRule, Change, DeleteRule, ModifyRule
from controller.core.rules import COOKIE_OWNER, Output, Program, Rule, Table, match
from controller.core.world import World
from controller.session import SwitchError
from controller.switches import News, Switch
from tests.fakes.wire import Tables, Wire
from topologies.model import Balancing
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(replace(load("triangle"), balancing=Balancing.GROUP))
PROGRAM = pipeline.programs(World(PLAN))["eLHR"]
EXTRA = Rule(Table.ROUTE, 999, match(eth_type=0x800), (Output(1),))


def make(generation: int = 1) -> Switch:
    return Switch(PLAN, PLAN.switch("eLHR"), PROGRAM, News(), generation)


def holds(switch: Switch, rule: Rule) -> bool:
    return not any(switch.lacking([rule]))


def settled(switch: Switch, rule: Rule) -> bool:
    return not any(switch.unsettled([AddRule(rule)]))


def programmed(switch: Switch) -> bool:
    with eventlet.Timeout(5, SwitchError("the switch was not programmed")):
        while not switch.programmed:
            eventlet.sleep(0.001)
    return True


def test_a_fresh_switch_gets_everything_in_one_bundle() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert not switch.programmed
    assert programmed(switch)
    assert tables.program() == PROGRAM
    assert wire.bundles == 1
    assert switch.changes == len(PROGRAM.rules) + len(PROGRAM.groups)


def test_a_right_switch_gets_nothing() -> None:
    tables = Tables()
    first = make()
    Wire(first, tables).connect()
    assert programmed(first)
    again = make()
    wire = Wire(again, tables)
    wire.connect()
    assert programmed(again)
    assert (again.changes, wire.bundles) == (0, 0)


def test_only_the_difference_is_sent() -> None:
    tables = Tables()
    first = make()
    Wire(first, tables).connect()
    assert programmed(first)
    tables.flows.popitem()
    tables.groups.clear()
    tables.apply(_added(EXTRA))
    again = make()
    Wire(again, tables).connect()
    assert programmed(again)
    assert tables.program() == PROGRAM
    assert again.changes == 3


def _added(rule: Rule) -> bytes:
    return openflow.add_flow(rule, 1)


def test_what_cannot_be_read_is_started_over_in_one_bundle() -> None:
    switch, tables = make(), Tables()
    tables.apply(_added(EXTRA))
    (key,) = tables.flows
    meter = b"\0\6\0\x08\0\0\0\1"
    tables.flows[key] = (COOKIE_OWNER, meter)
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    assert tables.program() == PROGRAM
    assert wire.bundles == 1


def change(switch: Switch, *steps: Change) -> None:
    """Say what the switch should hold, and bring it there."""
    switch.aim(steps)
    switch.send(steps)


def test_changes_stream_while_connected() -> None:
    switch, tables = make(), Tables()
    Wire(switch, tables).connect()
    assert programmed(switch)
    change(switch, AddRule(EXTRA))
    assert tables.program().rules == PROGRAM.rules | {EXTRA}
    other = EXTRA._replace(actions=(Output(2),))
    change(switch, ModifyRule(other))
    assert tables.program().rules == PROGRAM.rules | {other}
    assert holds(switch, other)
    assert not holds(switch, EXTRA)
    change(switch, DeleteRule(other))
    assert tables.program() == PROGRAM
    assert switch.rules == len(PROGRAM.rules)
    assert switch.programmed


def test_a_change_is_sent_when_its_turn_has_come_if_it_is_still_wanted() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    switch.aim([AddRule(EXTRA)])
    assert not switch.programmed
    assert not settled(switch, EXTRA)
    switch.aim([DeleteRule(EXTRA)])
    switch.send([AddRule(EXTRA)])
    assert switch.programmed
    assert wire.bundles == 1
    assert tables.program() == PROGRAM


def test_what_is_sent_is_not_confirmed_before_the_barrier() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.hold = True
    change(switch, AddRule(EXTRA))
    assert (holds(switch, EXTRA), switch.programmed, switch.behind) == (False, False, 1)
    wire.release()
    assert (holds(switch, EXTRA), switch.programmed, switch.behind) == (True, True, 0)


def test_what_is_taken_away_at_this_moment_is_not_there_though_it_is_wanted_again() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    change(switch, AddRule(EXTRA))
    wire.hold = True
    change(switch, DeleteRule(EXTRA))
    switch.aim([AddRule(EXTRA)])  # its turn has not come
    assert not switch.programmed
    switch.send([AddRule(EXTRA)])
    wire.hold = False
    wire.release()
    assert programmed(switch)


def test_changes_while_away_or_being_read_are_there_afterwards() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    change(switch, AddRule(EXTRA))
    assert settled(switch, EXTRA)  # nobody waits for a switch that is away
    wire.hold = True
    wire.connect()
    eventlet.sleep(0.01)  # it has asked, and got no answer yet
    second = EXTRA._replace(priority=998)
    change(switch, AddRule(second))
    assert not settled(switch, second)
    wire.hold = False
    wire.release()
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA, second}


def test_what_a_switch_refuses_is_put_right_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.switches.RETRY_S", 0.001)
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.refuse = wire.hold = True
    second = EXTRA._replace(priority=998)
    change(switch, AddRule(EXTRA))
    wire.refuse = True
    change(switch, AddRule(second))
    wire.hold = False
    wire.release()
    assert not switch.programmed
    reads = wire.reads
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA, second}
    assert wire.reads == reads + 1


def test_a_switch_that_loses_everything_holds_nothing_until_it_is_refilled() -> None:
    switch, tables = make(), Tables()
    Wire(switch, tables).connect()
    assert programmed(switch)
    rule = next(iter(PROGRAM.rules))
    switch.disconnect()
    assert holds(switch, rule)  # a lost connection takes no rule away
    tables.flows.clear()
    tables.groups.clear()
    wire = Wire(switch, tables)
    wire.hold = True
    wire.connect()
    eventlet.sleep(0.01)
    wire.release()  # what it holds
    eventlet.sleep(0.01)
    assert not holds(switch, rule)
    wire.hold = False
    wire.release()
    assert programmed(switch)
    assert holds(switch, rule)


def test_a_switch_that_goes_is_brought_up_to_date_when_it_comes_back() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.hold = True
    change(switch, AddRule(EXTRA))
    switch.disconnect()
    assert not switch.programmed
    assert not holds(switch, EXTRA)
    back = Wire(switch, tables)
    back.connect()
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA}


def test_a_rule_that_somebody_takes_away_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.switches.RETRY_S", 0.001)
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    one, two, *_ = tables.flows
    lost = [rule.key for rule in PROGRAM.rules][:2]
    del tables.flows[one], tables.flows[two]
    for key in lost:
        switch.miss(key)
    assert not switch.programmed
    reads = wire.reads
    assert programmed(switch)
    assert tables.program() == PROGRAM
    assert wire.reads == reads + 1
    change(switch, AddRule(EXTRA))
    change(switch, DeleteRule(EXTRA))
    switch.miss(EXTRA.key)  # we took it away ourselves
    assert switch.programmed


def test_a_silent_switch_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.session.ANSWER_S", 0.01)
    monkeypatch.setattr("controller.switches.RETRY_S", 0.001)
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.hold = True
    change(switch, AddRule(EXTRA))
    eventlet.sleep(0.03)
    assert not switch.programmed
    wire.hold = False
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA}


def test_a_dead_connection_is_noticed_when_sending() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.alive = False
    change(switch, AddRule(EXTRA))
    assert not switch.connected


def test_wrong_ports_keep_a_switch_unprogrammed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.switches.RETRY_S", 0.001)
    switch, tables = make(), Tables()
    wire = Wire(switch, tables, ports={1: "eLHR-eth1", 2: "wlan0"})
    wire.connect()
    eventlet.sleep(0.02)
    assert not switch.programmed
    assert tables.program() == Program(frozenset())
    wire.ports = Wire(switch, tables).ports
    assert programmed(switch)
    assert tables.program() == PROGRAM


def test_a_new_leader_changes_nothing_and_the_old_one_can_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controller.switches.RETRY_S", 0.001)
    old, new, tables = make(7), make(8), Tables()
    first, second = Wire(old, tables), Wire(new, tables)
    first.connect()
    assert programmed(old)
    old.session.packet_out(1, b"frame")
    second.connect()
    assert programmed(new)
    assert (new.changes, second.bundles) == (0, 0)
    change(old, AddRule(EXTRA))
    eventlet.sleep(0.02)
    assert tables.program() == PROGRAM
    assert not old.programmed
    with pytest.raises(SwitchError, match="has not made us its master"):
        old.session.packet_out(1, b"frame")
    change(new, AddRule(EXTRA))
    assert tables.program().rules == PROGRAM.rules | {EXTRA}


def test_an_old_leader_that_comes_back_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.switches.RETRY_S", 0.001)
    tables = Tables()
    Wire(new := make(8), tables).connect()
    assert programmed(new)
    old = make(7)
    wire = Wire(old, tables)
    wire.connect()
    with pytest.raises(SwitchError, match="has not made us its master"):
        old.session.packet_out(1, b"frame")
    eventlet.sleep(0.02)
    assert wire.bundles == 0
    assert tables.master is not wire


def test_who_waits_looks_again_when_told_of_what_is_lacking_and_at_nothing_else() -> None:
    news = News()
    lacking, looks = ["second", "first"], []

    def first() -> str | None:
        looks.append(tuple(lacking))
        return lacking[-1] if lacking else None

    waiting = eventlet.spawn(news.wait, first)
    eventlet.sleep(0)
    news.tell("second", "third")
    eventlet.sleep(0)
    assert looks == [("second", "first")]
    lacking.pop()
    news.tell("first")
    eventlet.sleep(0)
    assert (looks[1:], waiting.dead) == ([("second",)], False)
    lacking.pop()
    news.tell_all()
    waiting.wait()
    assert looks[2:] == [()]


def test_who_gave_up_waiting_is_told_nothing() -> None:
    news = News()
    with pytest.raises(TimeoutError), eventlet.Timeout(0.001, TimeoutError):
        news.wait(lambda: "never")
    news.tell("never")
    news.wait(lambda: None)
