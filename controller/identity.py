"""Who sent a packet that a switch hands up: the port that it came in by, which no server forges."""

from __future__ import annotations

from collections.abc import Iterable

from topologies.plan import HostPlan, Plan

__all__ = ["Identity", "by_port"]

Identity = tuple[int, int]
"""A switch's dpid and one of its ports."""


def by_port(plan: Plan, hosts: Iterable[HostPlan]) -> dict[Identity, HostPlan]:
    """Hosts by the switch and port that they are at."""
    return {(plan.switch(host.switch).dpid, host.port): host for host in hosts}
