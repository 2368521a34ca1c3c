"""Strict reverse-path checks at the upstream of every PoP (RFC 3704): what of egress passes?

The check is rules in the PoP's transit switch, made from its own routes by the time: from the PoP
come only sources whose packets the switch would send there. Labelled packets are let be, because a
label stands for a tunnel, from whose outer addresses it could be seen that they are the PoP's own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controller.core.priorities import ADMIT_NEVER
from controller.core.rules import Table
from experiments.measure.tcp import TcpAttempt, connect
from experiments.runs.testbed import Testbed
from topologies.emulation import anyip
from topologies.plan import GATEWAY_MAC, HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

COOKIE = "cookie=0x77"
FROM_A_POP = f"{COOKIE},table={Table.ADMISSION.value},in_port={{port}},ip,dl_dst={GATEWAY_MAC}"
PASS, REFUSE = ADMIT_NEVER + 20, ADMIT_NEVER + 10
ROUTE = re.compile(r"ip,(?:dl_dst=\S+,)?nw_dst=([\d./]+) actions=.*(output|group):(\d+)")
GROUP = re.compile(r"group_id=(\d+),type=ff,.*?output:(\d+)")


def ofctl(verb: str, switch: str, *words: str) -> list[str]:
    where = f"unix:/run/openvswitch/{switch}.mgmt"
    command = ["ovs-ofctl", "-O", "OpenFlow13", verb, where, *words]
    return subprocess.check_output(command, text=True).splitlines()


def routes(switch: str) -> list[tuple[str, int]]:
    """Where a switch sends what while all links live, prefix and port, as it says itself."""
    usual = dict(found.groups() for x in ofctl("dump-groups", switch) if (found := GROUP.search(x)))
    table = ofctl("dump-flows", switch, f"table={Table.ROUTE.value}")
    found = [found.groups() for line in table if (found := ROUTE.search(line))]
    return [(where, int(to if how == "output" else usual[to])) for where, how, to in found]


@contextmanager
def strict(lab: Testbed) -> Iterator[None]:
    """Check at every upstream, by the routes as they are now."""
    for edge in lab.plan.edges:
        upstream = lab.plan.transit(edge.city).name
        port = lab.plan.link_between(edge.name, upstream).near(upstream).port
        towards = [prefix for prefix, to in routes(upstream) if to == port]
        here = FROM_A_POP.format(port=port)
        for prefix in towards:
            on = f"actions=goto_table:{Table.ROUTE.value}"
            ofctl("add-flow", upstream, f"{here},nw_src={prefix},priority={PASS},{on}")
        ofctl("add-flow", upstream, f"{here},priority={REFUSE},actions=drop")
    yield
    for transit in lab.plan.transits:
        ofctl("del-flows", transit.name, f"{COOKIE}/-1")


def refused(lab: Testbed) -> set[str]:
    """The PoPs whose upstream has refused anything."""
    return {
        transit.city
        for transit in lab.plan.transits
        for line in ofctl("dump-flows", transit.name, f"{COOKIE}/-1")
        if f"priority={REFUSE}," in line and " n_packets=0," not in line
    }


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
        with strict(lab):
            assert egress(lab) == everywhere
            assert refused(lab) == set()
        for home in sorted(everywhere):
            announce(lab, {home})
            assert egress(lab) == everywhere  # without a check replies find their way home still
            with strict(lab):
                assert egress(lab) == {home}
                lab.wait(lambda pop=home: refused(lab) == everywhere - {pop}, "it to be counted")
        announce(lab, everywhere)
        with strict(lab):
            assert egress(lab) == everywhere


def test_what_is_borrowed_abroad_passes_where_its_holder_stands(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab, strict(lab):
        lease = lab.control.lease_acquire("LHR-s1", client_id="abroad")
        place, address = (lease["address"], lease["first_port"]), IPv4Address(lease["address"])
        moved = lab.controller_api.change_lease("move", *place, server="FCO-s1")
        assert (moved["home"], moved["pop"]) == ("LHR", "FCO")
        anyip.accept("FCO-s1", address)
        origin, port = lab.plan.hosts_of(HostRole.ORIGIN)[0].address, lease["first_port"]
        (row,) = connect([TcpAttempt("FCO-s1", origin, 80, address, (port, port))], timeout_s=2)
        assert row.outcome == "ok"
        assert refused(lab) == set()
