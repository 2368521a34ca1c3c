"""Balancing: which server of a PoP takes a new flow.

The switch hashes each flow onto the buckets of a select group by weight, so a flow stays with
its server as long as the buckets stay.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.core.rules import Bucket, Group, GroupKind, Output, SetField, mac
from topologies.plan import HostPlan, Plan

SERVICE_GROUP = 1
"""The group of an edge switch that spreads service traffic over its servers."""

DEFAULT_WEIGHT = 1


def serving(plan: Plan, pop: str, weights: Mapping[str, int]) -> tuple[HostPlan, ...]:
    """The servers of a PoP that take new flows: those whose weight is not 0."""
    return tuple(s for s in plan.servers_of(pop) if weights.get(s.name, DEFAULT_WEIGHT))


def service_group(plan: Plan, pop: str, weights: Mapping[str, int]) -> Group | None:
    """One bucket per serving server, in the order of their ports; None when there is none."""
    buckets = tuple(
        Bucket(
            actions=(SetField("eth_dst", mac(server.mac)), Output(server.port)),
            weight=weights.get(server.name, DEFAULT_WEIGHT),
        )
        for server in serving(plan, pop, weights)
    )
    return Group(SERVICE_GROUP, GroupKind.SELECT, buckets) if buckets else None
