"""Servers with several leases: by tags and names, by programs that choose, over crashes."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from controller.agent import borrowed
from controller.agent.proxy import PROXY_PORT
from experiments.errors import TrialError
from experiments.runs.testbed import Testbed
from topologies.emulation import netns
from topologies.model import Pool
from topologies.plan import HostRole
from topologies.sources import load

pytestmark = [pytest.mark.net, pytest.mark.sandboxed]

GB = Pool(IPv4Network("192.0.2.0/28"), "gb", "GB")
TRIANGLE = load("triangle")
NETWORK = replace(TRIANGLE, pools=(*TRIANGLE.pools, GB), borrow=("any", "gb"))


def inside(server: str, command: str) -> str:
    return subprocess.check_output(["ip", "netns", "exec", server, *command.split()], text=True)


def own(server: str) -> set[str]:
    """The addresses that a server takes for its own by AnyIP."""
    words = [line.split()[1] for line in inside(server, "ip route show table local").splitlines()]
    return {word for word in words if word.startswith(("203.0.113.", "192.0.2."))}


def test_every_server_borrows_of_each_tag_and_programs_choose(lab_folder: Path) -> None:
    with Testbed(NETWORK, folder=lab_folder) as lab:
        for server in lab.plan.hosts_of(HostRole.SERVER):
            plain, gb = lab.all_leases()[server.name]
            assert (plain["tag"], gb["tag"]) == ("any", "gb")
            assert IPv4Address(gb["address"]) in GB.prefix
            assert own(server.name) == {plain["address"], gb["address"]}
            assert inside(server.name, "sysctl -n net.ipv4.ip_local_port_range").split() == [
                "1024",
                "65535",
            ]
        origin = str(lab.plan.hosts_of(HostRole.ORIGIN)[0].address)
        leases = borrowed.read(lab.lease_file, "LHR-s1")
        for lease in leases:
            with netns.inside("LHR-s1"):
                made = borrowed.connect((origin, 80), lease["tag"], leases=leases, timeout=5)
            with made:
                assert lease["first_port"] <= made.getsockname()[1] <= lease["last_port"]
                made.sendall(b"GET /trace HTTP/1.0\r\n\r\n")
                said = made.makefile().read()
                assert f"client={lease['address']}\n" in said
            for proxy in (f"-p -x http://{lease['tag']}:", f"-x socks5://{lease['tag']}:x"):
                said = inside("LHR-s1", f"curl -sS {proxy}@127.0.0.1:{PROXY_PORT} {origin}/trace")
                assert f"client={lease['address']}\n" in said
        with netns.inside("LHR-s1"):
            with pytest.raises(borrowed.NoLeaseError, match="no lease tagged 'fr'"):
                borrowed.connect((origin, 80), "fr", leases=leases)

            async def fetch() -> bytes:
                reader, writer = await borrowed.open_connection(origin, 80, "gb", leases=leases)
                writer.write(b"GET /trace HTTP/1.0\r\n\r\n")
                return await reader.read()

            assert f"client={leases[1]['address']}\n".encode() in asyncio.run(fetch())


def test_a_set_of_sixteen_ports_is_sixteen_connections_to_each_destination(
    lab_folder: Path,
) -> None:
    with Testbed(TRIANGLE, folder=lab_folder) as lab:
        alone = lab.leases()["LHR-s1"]
        given = lab.control.server_borrow("LHR-s1", client_id="small", psid_bits=12)
        assert given["last_port"] - given["first_port"] == 15
        assert lab.all_leases()["LHR-s1"][1] == given
        origin = str(lab.plan.hosts_of(HostRole.ORIGIN)[0].address)
        with netns.inside("LHR-s1"), ExitStack() as opened:
            used = set()
            for _ in range(16):
                made = opened.enter_context(borrowed.connect((origin, 80), leases=[given]))
                used.add(made.getsockname()[1])
            assert used == set(range(given["first_port"], given["last_port"] + 1))
            with pytest.raises(borrowed.PortsExhaustedError, match="borrow another"):
                borrowed.connect((origin, 80), leases=[given])
            service = str(lab.plan.hosts_of(HostRole.SERVER)[-1].address)
            opened.enter_context(borrowed.connect((service, 80), leases=[given]))
        lab.control.server_return("LHR-s1", client_id="small")
        assert lab.all_leases()["LHR-s1"] == [alone]
        with pytest.raises(TrialError, match="LHR-s1 has not borrowed that"):
            lab.control.server_return("LHR-s1", client_id="small")
        narrow = inside("LHR-s1", "sysctl -n net.ipv4.ip_local_port_range").split()
        assert narrow == [str(alone["first_port"]), str(alone["last_port"])]


def test_agents_that_are_killed_find_their_own_again(lab_folder: Path) -> None:
    with Testbed(NETWORK, folder=lab_folder) as lab:

        def facts() -> list[tuple[Any, ...]]:
            return [(x["server"], x["number"], x["first_port"]) for x in lab.control.leases()]

        before, held = facts(), lab.all_leases()
        addresses = {server: own(server) for server in held}
        lab.kill("agent")
        lab.restart("agent")
        last = max(x["acquired_at_monotonic_ns"] for leases in held.values() for x in leases)

        def again() -> bool:
            now = [x for leases in lab.all_leases().values() for x in leases]
            fresh = [x for x in now if x["acquired_at_monotonic_ns"] > last]
            return len(fresh) == len(before)

        lab.wait(again, "the agents to hold their leases again")
        assert facts() == before
        assert {server: own(server) for server in held} == addresses


def test_an_agent_that_ends_returns_all_that_it_has(lab_folder: Path) -> None:
    with Testbed(load("triangle"), folder=lab_folder) as lab:
        for number in range(5):  # more at once than a moment later would be looked at
            lab.order("borrow", "LHR-s1", client_id=f"extra {number}")
        lab.control.program_end("agent")
        lab.wait(  # for less than a lease lasts
            lambda: {x["state"] for x in lab.controller_api.leases()} == {"quarantined"},
            "every set to be returned",
        )


def test_a_server_borrows_another_set_before_its_ports_run_out(lab_folder: Path) -> None:
    network = replace(NETWORK, port_set_bits=12, borrow_up_to=2)
    with Testbed(network, folder=lab_folder) as lab, ExitStack() as opened:
        origin = str(lab.plan.hosts_of(HostRole.ORIGIN)[0].address)

        def held() -> list[dict[str, Any]]:
            return [x for x in lab.all_leases()["LHR-s1"] if x["tag"] == "gb"]

        def connect(many: int) -> set[tuple[str, int]]:
            with netns.inside("LHR-s1"):
                made = [borrowed.connect((origin, 80), "gb", leases=held()) for _ in range(many)]
            return {opened.enter_context(one).getsockname() for one in made}

        first = connect(14)
        assert {address for address, _ in first} == {held()[0]["address"]}
        lab.wait(lambda: len(held()) == 2, "another set")
        more = connect(18)
        assert len(first | more) == 32
        with pytest.raises(borrowed.PortsExhaustedError):
            connect(1)

        def used() -> int:
            mine = [x for x in lab.usage() if (x["address"], x["pop"]) == (first_at, "LHR")]
            return max((x["used_max"] for x in mine if x["origin"] == f"{origin}:80"), default=0)

        first_at = held()[0]["address"]
        lab.wait(lambda: used() == sum(x[0] == first_at for x in first | more), "all to be seen")
        named = f'origin="{origin}:80",pop="LHR",protocol="tcp"'
        shown = [x for x in lab.metrics().splitlines() if named in x and first_at in x]
        assert [float(x.split()[-1]) for x in shown] == [used()]
        assert "poplab_lease_ports" in lab.metrics()


def test_a_set_that_is_moved_is_used_by_the_heirs_agent_and_by_nobody_elses(
    lab_folder: Path,
) -> None:
    with Testbed(NETWORK, folder=lab_folder) as lab:
        control, origin = lab.control, str(lab.plan.hosts_of(HostRole.ORIGIN)[0].address)
        given = control.server_borrow("LHR-s1", tag="gb", client_id="web")

        def web(server: str) -> dict[str, Any] | None:
            held = lab.all_leases().get(server, [])
            return next((x for x in held if x["client_id"] == "web"), None)

        def same(lease: dict[str, Any] | None) -> bool:
            return lease is not None and lease["first_port"] == given["first_port"]

        control.lease_move(f"{given['address']}:{given['first_port']}", "FCO-s1")
        lab.wait(lambda: same(web("FCO-s1")), "the heir to use it")
        heir = web("FCO-s1")
        assert heir is not None
        with netns.inside("FCO-s1"):
            borrowed.connect((origin, 80), "gb", leases=[heir], timeout=5).close()
        # Its agent wants such a set still, and has got another.
        lab.wait(lambda: web("LHR-s1") is not None and not same(web("LHR-s1")), "another set")
        control.lease_revoke(f"{given['address']}:{given['first_port']}")
        lab.wait(lambda: web("FCO-s1") is None, "the heir to stop")
        # One that has such a set gets another by a name of its own.
        own = lab.leases()["LHR-s1"]
        moved = control.lease_move(f"{own['address']}:{own['first_port']}", "FCO-s1")

        def named() -> list[str]:
            return [x["client_id"] for x in lab.all_leases()["FCO-s1"]]

        lab.wait(lambda: f"moved-{moved['number']}" in named(), "the heir to use it")
        assert control.audit()["agrees"]
