"""Balancing: which server of a PoP takes a new flow.

The switch hashes each flow onto the buckets of a select group by weight, so a flow stays with
its server as long as the buckets stay.
"""

from __future__ import annotations

from controller.core.groups import SERVICE_GROUP
from controller.core.rules import Bucket, Group, GroupKind, Output, SetField, mac
from controller.core.world import World
from topologies.plan import HostPlan


def serving(world: World, pop: str) -> tuple[HostPlan, ...]:
    """The servers of a PoP that take new flows: those whose weight is not 0."""
    return tuple(s for s in world.plan.servers_of(pop) if world.weight(s.name))


def service_group(world: World, pop: str) -> Group | None:
    """One bucket per serving server, in the order of their ports; None when there is none."""
    buckets = tuple(
        Bucket(
            actions=(SetField("eth_dst", mac(server.mac)), Output(server.port)),
            weight=world.weight(server.name),
        )
        for server in serving(world, pop)
    )
    return Group(SERVICE_GROUP, GroupKind.SELECT, buckets) if buckets else None
