"""What the shedder takes for demand: the packets of every rule that steers to the service."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

from controller.core.change import Configuration
from controller.core.events import PolicySet, ServiceSet
from controller.core.rules import Duty, Table, duty_of
from controller.core.world import World
from controller.shedder import Shedder
from topologies.model import Policy
from topologies.plan import plan
from topologies.sources import load

PREFIX = IPv4Network("198.51.100.0/30")
PLAN = plan(replace(load("triangle"), service_prefixes=(PREFIX,)))


def test_an_address_that_one_pop_withdraws_is_demand_as_before() -> None:
    loop: Any = SimpleNamespace(world=World(PLAN))
    counted = Shedder(loop)._services
    moved = World(PLAN).after(PolicySet(Policy.CAPACITY), ServiceSet(PREFIX[2], "ARN", False))
    for world in (World(PLAN), moved):
        programs = Configuration.of(world).programs()
        steering = {
            rule.cookie & 0xFFFFFFFF
            for transit in PLAN.transits
            for rule in programs[transit.name].rules
            if rule.table is Table.ROUTE and duty_of(rule.cookie) is Duty.STEER
        }
        to_service = {at for at in steering if any(at == int(x) for x in PREFIX)}
        assert to_service <= counted
    assert int(PREFIX[2]) in to_service
