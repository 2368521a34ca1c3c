"""Connections of a real lab that outlive planned changes, and the control where they break."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import dns.message
import dns.query
import pytest

from experiments.measure.held import Held, HeldRow
from experiments.runs.testbed import Testbed
from topologies.emulation import netns, second_chance
from topologies.family import Family, address
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

SERVICE = IPv4Address("198.51.100.1")


def _who(rows: list[HeldRow]) -> list[str | None]:
    return [row.fields.get("server") for row in rows]


def _change(lab: Testbed) -> None:
    """Everything that is planned, one after the other."""
    control = lab.control
    control.server_weigh("LHR-s1", 0)
    control.server_weigh("LHR-s1", 2)
    control.pop_drain("LHR")
    control.policy_set("weighted")
    control.city_steer("FCO", "ARN")


@pytest.mark.parametrize("family", [4, 6])
def test_connections_keep_their_server_whatever_is_changed_as_planned(
    lab_folder: Path, family: int
) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        service = address(SERVICE, 4) if family == 4 else IPv6Address(address(SERVICE, 6))
        hosts = [f"{city}-c1" for city in ("LHR", "ARN", "FCO") for _ in range(40)]
        with Held(hosts, service, timeout_s=5) as held:
            before = held.ask()
            assert {row.outcome for row in before} == {"ok"}
            assert len(set(_who(before))) == 6
            _change(lab)
            after = held.ask()
            assert Counter(row.outcome for row in after) == {"ok": len(hosts)}
            assert _who(after) == _who(before)
            lab.kill("controller")
            lab.restart("controller")
            lab.wait(lab.controller_api.is_listening, "the controller to answer")
            lab.wait(lab.controller_api.is_ready, "the controller to be ready")
            assert _who(held.ask()) == _who(before)
        counted = lab.controller_api.counters()["eLHR"]
        assert counted["handed_on"]["packets"] > 0


def test_without_a_second_chance_the_same_breaks_connections(lab_folder: Path) -> None:
    network = replace(load("triangle"), second_chance=False)
    with Testbed(network, folder=lab_folder) as lab:
        hosts = ["LHR-c1"] * 60
        with Held(hosts, SERVICE, timeout_s=5) as held:
            before = Counter(_who(held.ask()))
            lab.control.server_weigh("LHR-s1", 0)
            after = Counter(row.outcome for row in held.ask())
            assert after == {"ok": before["LHR-s2"], "reset": before["LHR-s1"]}


def test_what_belongs_to_nobody_is_refused_and_not_handed_on_for_ever(lab_folder: Path) -> None:
    """A connection whose server has crashed is reset at once, though others are asked first."""
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        hosts = ["LHR-c1"] * 40
        with Held(hosts, SERVICE, timeout_s=5) as held:
            before = Counter(_who(held.ask()))
            lab.control.server_weigh("LHR-s1", 0)
            lab.control.server_kill("LHR-s1")
            after = Counter(row.outcome for row in held.ask())
            assert after == {"ok": before["LHR-s2"], "reset": before["LHR-s1"]}


def _asked(client: str, service: str, ports: Iterable[int]) -> dict[int, str]:
    """By port, which server says that it has the flow."""
    question = dns.message.make_query("id.server", "TXT", rdclass="CH")
    found = {}
    with netns.inside(client):
        for port in ports:
            answer = dns.query.udp(question, service, timeout=5, source_port=port)
            found[port] = answer.answer[0][0].to_text()
    return found


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("named", [(53,), ()])
def test_flows_of_udp_keep_their_server_if_their_port_is_named(
    lab_folder: Path, family: Family, named: tuple[int, ...]
) -> None:
    network = replace(load("triangle"), second_chance_udp=named)
    with Testbed(network, folder=lab_folder) as lab:
        service = str(address(SERVICE, family))
        flows, others = range(40_000, 40_040), range(41_000, 41_040)
        before = _asked("LHR-c1", service, flows)
        assert set(before.values()) == {'"LHR-s1"', '"LHR-s2"'}
        lab.control.server_weigh("LHR-s1", 0)
        after = _asked("LHR-c1", service, flows)
        assert after == before if named else set(after.values()) == {'"LHR-s2"'}
        # Flows that are new have no way to the drained server, though they are marked first.
        assert set(_asked("LHR-c1", service, others).values()) == {'"LHR-s2"'}


def test_the_kernel_takes_the_rules() -> None:
    assert second_chance.is_possible(), "setup/packages.sh installs nftables"
