"""Strict reverse paths (RFC 3704): where does an upstream send the pools?."""

import pytest

from controller.core.events import PopSet, PopState
from controller.core.pipeline import programs
from controller.core.rules import Action, Duty, Output, ToGroup, duty_of
from controller.core.world import World
from topologies.plan import Plan, SwitchPlan, plan
from topologies.sources import load


def reverse_paths(world: World, upstream: SwitchPlan) -> set[int]:
    """The ports by which a transit switch would send what is for a pool, while all links live."""
    pools = {int(pool.prefix.network_address) for pool in world.plan.network.pools}
    program = programs(world)[upstream.name]
    usual: dict[Action, tuple[Action, ...]] = {
        ToGroup(group.group_id): group.buckets[0].actions for group in program.groups
    }
    return {
        action.port
        for rule in program.rules
        if duty_of(rule.cookie) is Duty.STEER
        and any(part.field == "ipv4_dst" and part.value in pools for part in rule.match)
        for action in (*rule.actions, *usual.get(rule.actions[-1], ()))
        if isinstance(action, Output)
    }


def passing(p: Plan, announced: set[str]) -> set[str]:
    """The PoPs whose egress a strict upstream accepts while these announce the pools."""
    withdrawn = [
        PopSet(edge.city, PopState.WITHDRAWN) for edge in p.edges if edge.city not in announced
    ]
    world = World(p).after(*withdrawn)
    return {
        edge.city
        for edge in p.edges
        for upstream in [p.transit(edge.city)]
        if reverse_paths(world, upstream)
        == {p.link_between(edge.name, upstream.name).near(upstream.name).port}
    }


@pytest.mark.parametrize("network", ["triangle", "europe"])
def test_egress_passes_where_its_prefix_is_announced_and_nowhere_else(network: str) -> None:
    p = plan(load(network))
    everywhere = {edge.city for edge in p.edges}
    assert passing(p, everywhere) == everywhere
    for home in sorted(everywhere):
        assert passing(p, {home}) == {home}
