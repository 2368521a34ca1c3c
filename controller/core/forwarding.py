"""Next hops as rules and groups: where a packet goes, and where instead when the link is dead.

A next hop that has a backup is a fast-failover group: its first bucket is the usual port, its
second writes the dead link's number into the label and takes another port. The switch itself sees
which port is live. What carries a dead link's number has plain outputs only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from controller.core import labels
from controller.core.detours import Ways
from controller.core.groups import Repair, number
from controller.core.priorities import ROUTE_INTACT, ROUTE_LABEL, ROUTE_NOT_LANDED
from controller.core.routing import Routes
from controller.core.rules import (
    Action,
    Bucket,
    Duty,
    Entry,
    Group,
    GroupKind,
    Output,
    Rule,
    SetBits,
    SetField,
    Table,
    ToGroup,
    cookie,
    match,
)
from topologies.plan import Plan, SwitchPlan, SwitchRole

Actions = tuple[Action, ...]

_FORGET_IN_PORT: Final = SetBits("in_port", 0, 0xFFFFFFFF)


def send(switch: SwitchPlan, port: int) -> Actions:
    """Out of a port; at an edge switch even if the packet came in by it.

    What lands by the uplink and goes home by the uplink turns around. A switch sends nothing out
    of the port that it came in by unless it forgets which that was.
    """
    return (Output(port),) if switch.role is SwitchRole.TRANSIT else turn(port)


def turn(port: int) -> Actions:
    """Out of a port, even if the packet came in by it."""
    return (_FORGET_IN_PORT, Output(port))


def dead_link(number: int) -> SetBits:
    """The label says from now on that this link is dead."""
    return SetBits("eth_dst", number, labels.DEAD_MASK)


def first_live(group_id: int, usual: tuple[Actions, int], backup: tuple[Actions, int]) -> Group:
    """The group that does the first of two things whose port is live."""
    buckets = tuple(Bucket(actions, watch_port=port) for actions, port in (usual, backup))
    return Group(group_id, GroupKind.FAST_FAILOVER, buckets)


@dataclass(frozen=True, slots=True)
class Repairs:
    """The groups for packets to one PoP at one switch: for all, and for those not landed yet.

    None where nothing else can be done than to send them out of the usual port; for those not
    landed also where the same is done as with all.
    """

    detour: Group | None
    stand_in: Group | None

    @property
    def first(self) -> Group | None:
        """The group for a packet that gets its label here."""
        return self.stand_in or self.detour


def repairs(
    plan: Plan, routes: Routes, switch: SwitchPlan, pop: str, ranked: Sequence[str]
) -> Repairs:
    """What a switch does when its link towards a PoP is dead.

    A detour that takes a last resort is for what has landed: whom it has not served yet, another
    PoP of ``ranked`` serves better.
    """
    ways = routes.labels[pop]
    backup = ways.backups.get(switch.name)
    port = ways.ports[switch.name]
    usual = (send(switch, port), port)
    detour = None
    if backup is not None:
        around = (dead_link(backup.link), *turn(backup.port))
        name = number(Repair.DETOUR, port, backup.port)
        detour = first_live(name, usual, (around, backup.port))
        if not backup.relayed:
            return Repairs(detour, None)
    found = _stand_in(plan, routes, switch, pop, ranked) if plan.network.failover else None
    if found is None:
        return Repairs(detour, None)
    other, instead = found
    label = SetField("eth_dst", labels.encode(other, dead=link_at(plan, switch, port)))
    name = number(Repair.STAND_IN, port, other)
    return Repairs(detour, first_live(name, usual, ((label, *turn(instead)), instead)))


def _stand_in(
    plan: Plan, routes: Routes, switch: SwitchPlan, pop: str, ranked: Sequence[str]
) -> tuple[int, int] | None:
    """The best other PoP that is reached without the link to this one: its number, the port."""
    usual = routes.labels[pop].ports[switch.name]
    for other in ranked:
        ways = routes.labels[other]
        port, backup = ways.ports[switch.name], ways.backups.get(switch.name)
        if port != usual:
            return plan.edge(other).number, port
        if other != pop and backup is not None and not backup.relayed:
            return plan.edge(other).number, backup.port
    return None


def link_at(plan: Plan, switch: SwitchPlan, port: int) -> int:
    """The number of the link at a port."""
    return next(x.number for x in plan.links_of(switch.name) if x.near(switch.name).port == port)


def label_routes(
    plan: Plan, routes: Routes, switch: SwitchPlan, ranked: Sequence[str] = ()
) -> Iterator[Entry]:
    """ROUTE: a labelled packet goes on towards its PoP.

    ``ranked`` are the PoPs that may stand in for one another while a packet has not landed.
    """
    for edge in plan.edges:
        ways = routes.labels[edge.city]
        port = ways.ports.get(switch.name)
        if port is None:
            continue
        target, duty = edge.number, cookie(Duty.LABEL, edge.number)
        found = repairs(plan, routes, switch, edge.city, ranked)
        for priority, matched, group in (
            (ROUTE_INTACT, labels.around(target, 0), found.detour),
            (ROUTE_NOT_LANDED, labels.encode(target), found.stand_in),
        ):
            if group is not None:
                onward = (ToGroup(group.group_id),)
                yield group
                yield Rule(Table.ROUTE, priority, match(eth_dst=matched), onward, cookie=duty)
        towards = match(eth_dst=labels.towards(target))
        yield Rule(Table.ROUTE, ROUTE_LABEL, towards, send(switch, port), cookie=duty)
        yield from detours(switch, target, ways)


def detours(switch: SwitchPlan, target: int, ways: Ways) -> Iterator[Rule]:
    """ROUTE: what goes round a dead link, where the usual next hop would lead back to it."""
    for dead, port in ways.detours.get(switch.name, {}).items():
        yield on_detour(switch, target, dead, port)


def on_detour(switch: SwitchPlan, target: int, dead: int, port: int) -> Rule:
    """ROUTE: a label that carries a dead link goes out of a port."""
    return Rule(
        Table.ROUTE,
        ROUTE_INTACT,
        match(eth_dst=labels.around(target, dead)),
        send(switch, port),
        cookie=cookie(Duty.DETOUR, dead),
    )
