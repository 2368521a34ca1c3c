"""Names are bound otherwise while the hosts' services run."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from ipaddress import IPv4Network
from unittest.mock import patch

import dns.message
import pytest

from topologies.emulation.endpoints.service import Services
from topologies.emulation.endpoints.zone import Zone
from topologies.model import Names
from topologies.plan import HostPlan, plan
from topologies.sources import load

PREFIX = IPv4Network("198.51.100.0/28")
PLAN = plan(replace(load("triangle"), service_prefixes=(PREFIX,)))
SERVER, OTHER = (PLAN.host(name) for name in ("LHR-s1", "FCO-s1"))


def told(services: Services, name: str = "www.poplab.test") -> str:
    zone = services._zones[SERVER.name]
    answer = zone.answer(dns.message.make_query(name, "A").to_wire())
    assert answer is not None
    return str(dns.message.from_wire(answer).answer[0][0])


def test_new_answers_follow_the_binding_of_the_moment() -> None:
    services = Services(PLAN, seed=1)
    services._zones[SERVER.name] = services._zone(SERVER)
    assert len({told(services) for _ in range(100)}) > 10
    services.bind(Names.ONE, [IPv4Network("198.51.100.7/32")])
    assert told(services) == "198.51.100.7"
    services.bind(Names.STATIC, [IPv4Network("198.51.100.0/31")])
    assert {told(services, f"www{n}.poplab.test") for n in range(20)} == {
        "198.51.100.0",
        "198.51.100.1",
    }
    zone = services._zone(OTHER)  # who starts later binds alike
    assert {str(zone.bind(f"www{n}.poplab.test")) for n in range(20)} < set(map(str, PREFIX))
    assert zone.bind("a") == services._zones[SERVER.name].bind("a")


def test_a_random_binding_draws_anew_each_time() -> None:
    services = Services(PLAN, seed=1)
    services._zones[SERVER.name] = services._zone(SERVER)
    drawn = []
    for _ in range(2):
        services.bind(Names.RANDOM, [PREFIX])
        drawn.append([told(services) for _ in range(20)])
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("among", [[], [IPv4Network("10.0.0.1/32")]])
def test_what_is_no_service_address_is_refused(among: list[IPv4Network]) -> None:
    services = Services(PLAN, seed=1)
    with pytest.raises(ValueError, match="no service address"):
        services.bind(Names.ONE, among)


def test_a_start_that_is_refused_leaves_the_server_its_zone() -> None:
    services = Services(PLAN, seed=1)
    serving: list[Zone | None] = []

    async def open_family(_: HostPlan, zone: Zone | None, *__: object) -> None:
        if serving and serving[0] is not zone:
            raise OSError(errno.EADDRINUSE, "in use")
        serving.append(zone)

    with patch.object(services, "_open_family", open_family):
        asyncio.run(services.start(SERVER.name))
        with pytest.raises(OSError, match="in use"):
            asyncio.run(services.start(SERVER.name))
    services.bind(Names.ONE, [IPv4Network("198.51.100.7/32")])
    assert serving[0] is services._zones[SERVER.name]
    assert told(services) == "198.51.100.7"
