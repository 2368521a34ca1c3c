"""What is to be seen of a lab, from what it says; no lab, no server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.events import LeaseChanged, dump
from controller.core.steering import rank
from experiments.control import screen
from experiments.control.words import Control, find_link
from experiments.live.state import State, Told, state
from tests.fakes.lab import FakeLab, seen
from topologies.model import COMMON_TAG, Line
from topologies.plan import LinkKind, Plan, plan
from topologies.sources import load

PLAN = plan(load("triangle"))


def link_of(found: State, name: str) -> State:
    (link,) = (x for x in found["links"] if x["link"] == name)
    return dict(link)


def lease(first: int, ports: int = 2048, how: str = "lent", **other: Any) -> dict[str, Any]:
    """A lease as a lab tells it."""
    told = {
        "address": "203.0.113.0",
        "first_port": first,
        "last_port": first + ports - 1,
        "server": "LHR-s1",
        "pop": "LHR",
        "home": "LHR",
        "tag": COMMON_TAG,
        "state": how,
        "heir": "",
        "expires_in_s": 30.0,
    }
    return told | other


def with_leases(*leases: dict[str, Any], now_s: float = 0.0) -> State:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    view = screen.View(control.status(), control.world(), list(leases))
    return state(PLAN, Told(view, control.links(), now_s))


def test_the_state_is_plain_json_and_calm() -> None:
    lab = FakeLab(PLAN)
    found = seen(lab)
    assert json.loads(json.dumps(found)) == found
    assert seen(lab, now_s=99.0) == found


def test_every_city_has_the_pop_that_serves_it() -> None:
    lab = FakeLab(PLAN)
    assert seen(lab)["cities"] == {"LHR": "LHR", "ARN": "ARN", "FCO": "FCO"}
    lab.happen({"event": "PopSet", "pop": "LHR", "state": "withdrawn"})
    found = seen(lab)
    assert found["cities"]["LHR"] == rank(lab.now)["LHR"][0] != "LHR"
    states = {pop["pop"]: (pop["state"], pop["cities"]) for pop in found["pops"]}
    assert states["LHR"] == ("withdrawn", [])
    assert sorted(city for _, cities in states.values() for city in cities) == ["ARN", "FCO", "LHR"]


def test_a_city_that_nobody_serves_has_no_pop() -> None:
    lab = FakeLab(PLAN)
    for pop in ("LHR", "ARN", "FCO"):
        lab.happen({"event": "PopSet", "pop": pop, "state": "withdrawn"})
    assert seen(lab)["cities"] == dict.fromkeys(("LHR", "ARN", "FCO"))


def test_servers_serve_are_sick_or_killed() -> None:
    lab = FakeLab(PLAN)
    control = Control(lab, "up")  # type: ignore[arg-type]
    control.server_sick("LHR-s1")
    control.server_kill("FCO-s1")
    servers = {one["server"]: one for one in seen(lab)["servers"]}
    states = {name: one["state"] for name, one in servers.items()}
    assert states == dict.fromkeys(servers, "serving") | {"LHR-s1": "sick", "FCO-s1": "killed"}
    assert servers["LHR-s1"]["leases"] == ["203.0.113.0:2048"]
    assert servers["ARN-s1"]["pop"] == "ARN"


def test_a_pop_counts_the_servers_that_serve_and_what_is_lent() -> None:
    lab = FakeLab(PLAN)
    lab.happen({"event": "WeightSet", "server": "LHR-s1", "weight": 0})
    (pop,) = (pop for pop in seen(lab)["pops"] if pop["pop"] == "LHR")
    assert (pop["serving"], pop["servers"], pop["lent"], pop["addresses"]) == (1, 2, 2, 1)
    assert pop["name"] == "London"


def cut(control: Control) -> None:
    control.link_cut("LHR-FCO")


def silence(control: Control) -> None:
    control.link_blackhole("LHR-FCO")


def cut_after_silence(control: Control) -> None:
    control.link_blackhole("LHR-FCO")
    control.link_cut("LHR-FCO")


def restore(control: Control) -> None:
    control.link_cut("LHR-FCO")
    control.link_restore("LHR-FCO")


@pytest.mark.parametrize(
    ("does", "condition"),
    [(cut, "cut"), (silence, "silent"), (cut_after_silence, "cut"), (restore, "up")],
)
def test_a_link_is_what_was_done_to_it(does: Callable[[Control], None], condition: str) -> None:
    lab = FakeLab(PLAN)
    does(Control(lab, "up"))  # type: ignore[arg-type]
    found = seen(lab)
    assert link_of(found, "FCO-LHR")["state"] == condition
    assert {link["state"] for link in found["links"] if link["link"] != "FCO-LHR"} == {"up"}


def test_a_link_whose_switch_has_no_carrier_is_told_apart_from_a_cut() -> None:
    lab = FakeLab(PLAN)
    end = find_link(PLAN, "LHR-FCO").b
    lab.happen({"event": "PortStatus", "switch": end.node, "port": end.port, "up": False})
    assert link_of(seen(lab), "FCO-LHR")["state"] == "no carrier"


def test_what_a_link_does_is_told() -> None:
    lab = FakeLab(PLAN)
    Control(lab, "up").link_set("LHR-FCO", delay="30 ms", loss="1 %")  # type: ignore[arg-type]
    link = link_of(seen(lab), "FCO-LHR")
    assert (link["delay_ms"], link["loss"], sorted(link["ends"])) == (30.0, 0.01, ["FCO", "LHR"])


def _plain() -> Plan:
    """``triangle``, with a backbone cable that has no delay."""
    network = load("triangle")
    cable = replace(network.links[0], a="LHR", b="FCO", line=Line(delay_ns=0))
    return plan(replace(network, backbone=(cable,)))


def test_a_plain_cable_is_known_by_its_carriers_alone() -> None:
    lab = FakeLab(_plain())
    (cable,) = (link for link in lab.plan.links if link.kind is LinkKind.BACKBONE)
    found = link_of(seen(lab), "eLHR-eFCO")
    assert (found["kind"], found["state"], found["delay_ms"]) == ("backbone", "up", 0.0)
    lab.set_link(cable, up=False)
    assert link_of(seen(lab), "eLHR-eFCO")["state"] == "no carrier"


def test_an_address_is_a_strip_of_all_its_ports() -> None:
    held = (
        lease(2048),
        lease(8192, how="quarantined"),
        lease(10240, how="draining", heir="FCO-s1"),
    )
    (address,) = with_leases(*held, now_s=1000.0)["addresses"]
    shown = [(x["first"], x["last"], x["state"]) for x in address["sets"]]
    assert shown == [
        (1024, 2047, "free"),
        (2048, 4095, "lent"),
        (4096, 8191, "free"),
        (8192, 10239, "quarantined"),
        (10240, 12287, "draining"),
        (12288, 65535, "free"),
    ]
    ends = [x["until_s"] for x in address["sets"] if x["state"] != "free"]
    assert ends == [None, 1030, 1030]
    assert address["sets"][4]["heir"] == "FCO-s1"
    assert address["sets"][1]["lease"] == "203.0.113.0:2048"


def test_a_whole_address_leaves_nothing_free() -> None:
    (address,) = with_leases(lease(0, ports=65536))["addresses"]
    assert [(x["first"], x["last"]) for x in address["sets"]] == [(0, 65535)]


def test_addresses_stand_in_the_order_of_their_numbers() -> None:
    texts = ["203.0.113.10", "203.0.113.9", "203.0.113.2"]
    found = with_leases(*(lease(2048, address=text) for text in texts))
    assert [x["address"] for x in found["addresses"]] == [*reversed(texts)]


@given(st.sets(st.integers(1, 31), min_size=1))
def test_a_strip_has_every_port_that_can_be_lent_once(sets: set[int]) -> None:
    (address,) = with_leases(*(lease(psid * 2048) for psid in sets))["addresses"]
    ports = [port for x in address["sets"] for port in (x["first"], x["last"])]
    assert ports[0] == 1024
    assert ports[-1] == 65535
    assert all(b == a + 1 for a, b in zip(ports[1:-1:2], ports[2::2], strict=True))
    assert sum(x["state"] == "lent" for x in address["sets"]) == len(sets)


def test_renewals_are_no_news() -> None:
    lab, sieve = FakeLab(PLAN), screen.Sieve()
    assert all(sieve.passes(record) for record in lab.records)
    held = lab.book.entries()[0]
    lab.renew(held)
    assert lab.records[-1]["event"] == "LeaseChanged"
    assert not sieve.passes(lab.records[-1])
    moved = held._replace(number=99, server="FCO-s1")
    assert sieve.passes(dump(LeaseChanged(moved)))
    assert sieve.passes({"event": "Mark", "text": "half time"})
