"""Where switches arrive: a standby is their slave, who leads gets them all."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from ryu.ofproto import ofproto_v1_3 as ofp
from ryu.ofproto import ofproto_v1_3_parser as parser

from controller import ryu_compat
from controller.store import StoreError
from tests.fakes.inside import PLAN, TERMS, Memory

ryu_compat.make_importable()

from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER  # noqa: E402 (see above)

from controller.app import Controller, Settings  # noqa: E402
from controller.reception import Reception  # noqa: E402


class Datapath:
    """A connection that keeps what was sent: role and generation."""

    ofproto = ofp
    ofproto_parser = parser

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def send_msg(self, message: Any) -> None:
        self.asked.append((message.role, message.generation_id))


def until(holds: Callable[[], object]) -> None:
    with eventlet.Timeout(5):
        while not holds():
            eventlet.sleep(0.001)


class Leader:
    """A controller that writes down who came and went."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Datapath]] = []

    def arrive(self, datapath: Datapath) -> None:
        self.seen.append(("came", datapath))

    def leave(self, datapath: Datapath) -> None:
        self.seen.append(("went", datapath))


def come(reception: Reception, datapath: Datapath) -> None:
    reception.on_state(SimpleNamespace(datapath=datapath, state=MAIN_DISPATCHER))


def go(reception: Reception, datapath: Datapath) -> None:
    reception.on_state(SimpleNamespace(datapath=datapath, state=DEAD_DISPATCHER))


def refuse(reception: Reception, datapath: Datapath) -> None:
    reception.on_error(SimpleNamespace(msg=SimpleNamespace(datapath=datapath)))


def test_a_standby_is_a_slave_and_who_leads_gets_every_switch_as_it_came() -> None:
    reception, leader = Reception(lambda: 7), Leader()
    first, second, gone, late = (Datapath() for _ in range(4))
    for datapath in (first, gone, second):
        come(reception, datapath)
    go(reception, gone)
    assert [x.asked for x in (first, second)] == [[(ofp.OFPCR_ROLE_SLAVE, 7)]] * 2
    assert reception.present == 2
    reception.lead(leader)  # type: ignore[arg-type]
    come(reception, late)
    go(reception, first)
    assert leader.seen == [("came", first), ("came", second), ("came", late), ("went", first)]
    assert late.asked == []


def test_a_standby_without_its_store_asks_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.reception.RETRY_S", 0.001)
    said: list[int | None] = [None, None, 7]

    def generation() -> int:
        found = said.pop(0)
        if found is None:
            raise StoreError("no answer")
        return found

    reception, datapath = Reception(generation), Datapath()
    come(reception, datapath)
    until(lambda: datapath.asked)
    assert datapath.asked == [(ofp.OFPCR_ROLE_SLAVE, 7)]


def test_a_standby_that_knew_an_older_leader_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.reception.RETRY_S", 0.001)
    generations = iter((7, 8, 9))
    reception, datapath, gone = Reception(lambda: next(generations)), Datapath(), Datapath()
    come(reception, datapath)
    refuse(reception, datapath)
    refuse(reception, gone)
    until(lambda: len(datapath.asked) > 1)
    assert [generation for _, generation in datapath.asked] == [7, 8]
    refuse(reception, datapath)
    reception.lead(Leader())  # type: ignore[arg-type]
    eventlet.sleep(0.02)
    assert len(datapath.asked) == 2, "who leads is nobody's slave"


def test_a_controller_hears_all_that_switches_tell_before_it_works_on_any_of_it() -> None:
    controller = Controller(Settings(PLAN, Memory(), TERMS))
    with eventlet.Timeout(5):  # more than Ryu's queue takes
        for number in range(1000):
            controller._send_event(number, None)
    assert controller.events.qsize() == 1000
