"""Failures while the controller is dead: the switches themselves go round them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from experiments.runs.testbed import Testbed
from tests.net.test_change import pinged, served_by
from tests.net.test_icmp import ping
from topologies.plan import HostRole
from topologies.sources import load
from topologies.validate import MS

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

SERVICE = "198.51.100.1"


def served_in(lab: Testbed, host: str) -> str | None:
    """The PoP that answers a host's request; None if none does within a second."""
    server = served_by(host)
    return None if server is None else lab.plan.host(server).city


def test_without_a_controller_traffic_goes_round_a_cut_link_and_a_dead_pop(
    lab_folder: Path,
) -> None:
    with Testbed(load("europe"), folder=lab_folder) as lab:
        far = lab.plan.host("ARN-c1")
        assert served_in(lab, "LHR-c1") == "LHR"
        assert pinged("LHR-c1", far.address)
        lab.control.program_kill("controller")
        trace = lab.control.explain("LHR-c1", "ARN-c1", protocol="icmp")
        first, second = (hop["switch"] for hop in trace["there"][:2])
        lab.set_link(lab.plan.link_between(first, second), up=False)
        lab.wait(lambda: pinged("LHR-c1", far.address), "the switches to go round a cut link")
        trace = lab.control.explain("LHR-c1", "ARN-c1", protocol="icmp")
        assert set(trace["there"][0]["label"]["dead"].split("-")) == {first, second}
        assert trace["ends"] == {"hosts": ["ARN-c1"], "why": "delivered"}

        for link in lab.plan.links_of("eLHR"):
            lab.set_link(link, up=False)
        lab.wait(lambda: served_in(lab, "LHR-c1") is not None, "another PoP to stand in")
        assert served_in(lab, "LHR-c1") != "LHR"


def test_a_pop_without_its_uplink_still_fetches_and_is_answered(lab_folder: Path) -> None:
    """Out over the backbone; what it borrowed lands elsewhere, and comes home the same way."""
    with Testbed(load("europe"), folder=lab_folder) as lab:
        lease, origin = lab.leases()["LHR-s1"], lab.plan.hosts_of(HostRole.ORIGIN)[0]
        lab.control.program_kill("controller")
        lab.set_link(lab.plan.link_between("eLHR", "tLHR"), up=False)
        own = {"source": lease["address"], "source_port": lease["first_port"]}
        found = lab.control.explain("LHR-s1", origin.name, **own)
        assert found["ends"] == {"hosts": [origin.name], "why": "delivered"}
        assert found["answer_ends"] == {"hosts": ["LHR-s1"], "why": "delivered"}
        assert pinged("LHR-s1", origin.address)


def test_a_borrowers_ping_goes_round_a_dead_uplink_too(lab_folder: Path) -> None:
    """By way of the controller, which sees no ports in an echo."""
    with Testbed(load("europe"), folder=lab_folder) as lab:
        lease = lab.leases()["LHR-s1"]
        echo = partial(ping, lab, "LHR-s1", lease["address"], lease["first_port"])
        assert echo()
        lab.set_link(lab.plan.link_between("eLHR", "tLHR"), up=False)
        lab.wait(echo, "an echo to go out by another PoP, and its answer to come home")


def test_a_link_that_dies_silently_is_gone_round_and_the_controller_hears_of_it(
    lab_folder: Path,
) -> None:
    """By BFD: both ends still see a carrier."""
    with Testbed(replace(load("triangle"), bfd_ns=100 * MS), folder=lab_folder) as lab:
        far, link = lab.plan.host("FCO-c1"), lab.plan.link_between("tLHR", "tFCO")
        ports = sorted(f"{end.node} port {end.port}" for end in (link.a, link.b))
        assert pinged("LHR-c1", far.address)
        lab.control.link_blackhole("LHR-FCO")
        lab.wait(lambda: pinged("LHR-c1", far.address), "the switches to go round a silent link")
        lab.wait(
            lambda: lab.controller_api.world()["down"] == ports, "the controller to hear of it"
        )
        trace = lab.control.explain("LHR-c1", "FCO-c1", protocol="icmp")
        assert [hop["label"] for hop in trace["there"]] == [None] * 3, "rerouted"
        lab.control.link_restore("LHR-FCO")
        lab.wait(lambda: not lab.controller_api.world()["down"], "the link to live again")

        lab.control.program_kill("controller")
        lab.control.link_blackhole("LHR-FCO")
        lab.wait(lambda: pinged("LHR-c1", far.address), "the switches to go round it alone")
