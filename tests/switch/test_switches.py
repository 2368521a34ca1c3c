"""Programming one switch: fresh, right already, wrong, refusing, vanishing."""

from __future__ import annotations

from dataclasses import replace

import eventlet
import pytest

from controller import openflow
from controller.core import pipeline, steering
from controller.core.lending import Book
from controller.core.rules import COOKIE_OWNER, Output, Program, Rule, Table, match
from controller.core.state import State
from controller.session import SwitchError
from controller.switches import Delta, Switch
from tests.fakes.wire import Tables, Wire
from topologies.plan import plan
from topologies.sources import load

PLAN = plan(load("triangle"))
BOOK = Book(PLAN.network.pools, PLAN.network.port_set_bits)
PROGRAM = pipeline.programs(State.of(PLAN, steering.nearest(PLAN), BOOK))["eLHR"]
EXTRA = Rule(Table.ROUTE, 999, match(eth_type=0x800), (Output(1),))


def make() -> Switch:
    return Switch(PLAN, PLAN.switch("eLHR"), PROGRAM)


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


def test_changes_stream_while_connected() -> None:
    switch, tables = make(), Tables()
    Wire(switch, tables).connect()
    assert programmed(switch)
    switch.settle(switch.want(Delta(add=frozenset({EXTRA}))))
    assert tables.program().rules == PROGRAM.rules | {EXTRA}
    other = replace(EXTRA, actions=(Output(2),))
    switch.settle(switch.want(Delta(frozenset({EXTRA}), frozenset({other}))))
    assert tables.program().rules == PROGRAM.rules | {other}
    switch.settle(switch.want(Delta(remove=frozenset({other}))))
    assert tables.program() == PROGRAM
    assert switch.rules == len(PROGRAM.rules)


def test_changes_while_away_or_being_read_are_there_afterwards() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    assert switch.want(Delta(add=frozenset({EXTRA}))) is None
    wire.hold = True
    wire.connect()
    eventlet.sleep(0.01)  # it has asked, and got no answer yet
    second = replace(EXTRA, priority=998)
    assert switch.want(Delta(add=frozenset({second}))) is None
    wire.hold = False
    wire.release()
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA, second}


def test_a_refused_change_is_told_and_put_right() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.refuse = True
    pending = switch.want(Delta(add=frozenset({EXTRA})))
    with pytest.raises(SwitchError, match=r"eLHR refused.*999"):
        switch.settle(pending)
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA}


def test_whoever_waits_for_a_switch_that_goes_is_told() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.hold = True
    pending = switch.want(Delta(add=frozenset({EXTRA})))
    eventlet.spawn(switch.disconnect)
    assert pending is not None
    with pytest.raises(SwitchError, match="went away"):
        pending.wait()
    assert not switch.programmed
    back = Wire(switch, tables)
    back.connect()
    assert programmed(switch)
    assert tables.program().rules == PROGRAM.rules | {EXTRA}


def test_a_dead_connection_is_noticed_when_sending() -> None:
    switch, tables = make(), Tables()
    wire = Wire(switch, tables)
    wire.connect()
    assert programmed(switch)
    wire.alive = False
    assert switch.want(Delta(add=frozenset({EXTRA}))) is None
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
