"""Strict reverse-path checks at the upstream of every PoP (RFC 3704): what of egress passes?

How the check is made is told in ``experiments.measure.reverse_path``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from experiments.measure.reverse_path import Check, checking
from experiments.measure.tcp import TcpAttempt, connect
from experiments.runs.testbed import Testbed
from topologies.emulation import anyip
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]


def refusing(refused: Callable[[], Mapping[str, int]]) -> set[str]:
    """The PoPs whose upstream has refused anything."""
    return {pop for pop, packets in refused().items() if packets}


def egress(lab: Testbed) -> set[str]:
    """The PoPs all of whose servers reach an origin from what they borrowed; no PoP by half."""
    origin = lab.plan.hosts_of(HostRole.ORIGIN)[0]
    attempts = [
        TcpAttempt(
            server,
            origin.address,
            80,
            IPv4Address(lease["address"]),
            (lease["first_port"], lease["last_port"]),
        )
        for server, lease in lab.leases().items()
    ]
    rows = connect(attempts, timeout_s=0.8)
    works = {row.host for row in rows if row.outcome == "ok"}
    pops = {lab.plan.host(server).city for server in works}
    assert works == {server.name for pop in pops for server in lab.plan.servers_of(pop)}
    return pops


def announce(lab: Testbed, pops: set[str]) -> None:
    """Have these PoPs, and no others, announce the pools."""
    for edge in lab.plan.edges:
        state = "announced" if edge.city in pops else "withdrawn"
        lab.controller_api.happen({"event": "PopSet", "pop": edge.city, "state": state})


def test_egress_passes_where_its_prefix_is_announced_and_nowhere_else(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        everywhere = {edge.city for edge in lab.plan.edges}
        with checking(lab.plan, Check.STRICT) as refused:
            assert egress(lab) == everywhere
            assert refusing(refused) == set()
        for home in sorted(everywhere):
            announce(lab, {home})
            assert egress(lab) == everywhere  # without a check replies find their way home still
            with checking(lab.plan, Check.STRICT) as refused:
                assert egress(lab) == {home}
                others = everywhere - {home}
                lab.wait(lambda x=others: refusing(refused) == x, "it to be counted")
        announce(lab, everywhere)
        with checking(lab.plan, Check.STRICT) as refused:
            assert egress(lab) == everywhere


def test_what_is_borrowed_abroad_passes_where_its_holder_stands(lab_folder: Path) -> None:
    with (
        Testbed(load("triangle"), folder=lab_folder) as lab,
        checking(lab.plan, Check.STRICT) as refused,
    ):
        lease = lab.control.lease_acquire("LHR-s1", client_id="abroad")
        place, address = (lease["address"], lease["first_port"]), IPv4Address(lease["address"])
        moved = lab.controller_api.change_lease("move", *place, server="FCO-s1")
        assert (moved["home"], moved["pop"]) == ("LHR", "FCO")
        anyip.accept("FCO-s1", address)
        origin, port = lab.plan.hosts_of(HostRole.ORIGIN)[0].address, lease["first_port"]
        (row,) = connect([TcpAttempt("FCO-s1", origin, 80, address, (port, port))], timeout_s=2)
        assert row.outcome == "ok"
        assert refusing(refused) == set()
