"""From the world to every switch's program.

``programs(world)`` equals ``static_programs(world)`` plus ``borrowing.borrowed_rules`` of its
leases and homes, so a lease that comes or goes needs only its own few rules (``core.change``). No
rule depends on a flow: their number grows with cities x PoPs, servers and leases.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.core import edge, transit
from controller.core.borrowing import borrowed_rules
from controller.core.routing import Routes, routes
from controller.core.rules import Program
from controller.core.service import ServiceTables
from controller.core.steering import Steering
from controller.core.world import World
from topologies.plan import SwitchPlan, SwitchRole

__all__ = ["programs", "static_program", "static_programs", "with_leases"]


def programs(world: World) -> dict[str, Program]:
    """What every switch should hold, by switch name, in the plan's order."""
    return with_leases(world, static_programs(world))


def with_leases(world: World, static: Mapping[str, Program]) -> dict[str, Program]:
    """Static programs, and what the world's leases and homes add."""
    homes = {address: home.pop for address, home in world.homes.items()}
    lent = borrowed_rules(world.plan, world.leases.values(), homes)
    return {
        name: Program(program.rules | lent.get(name, frozenset()), program.groups)
        for name, program in static.items()
    }


def static_programs(world: World) -> dict[str, Program]:
    """The programs without leases and homes."""
    found, steering = routes(world), Steering.of(world)
    return {s.name: static_program(world, found, steering, s) for s in world.plan.switches}


def static_program(world: World, found: Routes, steering: Steering, switch: SwitchPlan) -> Program:
    """One switch's program without leases and homes."""
    if switch.role is SwitchRole.TRANSIT:
        return Program.of(transit.entries(world, found, steering, switch))
    tables = ServiceTables.of(world, found, steering.usual, switch)
    return Program.of(edge.entries(world, found, tables, switch))
