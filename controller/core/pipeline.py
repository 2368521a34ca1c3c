"""From the state to every switch's program: the whole of it, or one lease's part.

``programs(state)`` equals ``static_programs(state)`` plus ``borrowing.borrowed_rules`` of its
leases and homes, so a lease that comes or goes needs only its own few rules. No rule depends on
a flow: their number grows with cities x PoPs, servers and leases.
"""

from __future__ import annotations

from controller.core import edge, transit
from controller.core.balancing import service_group
from controller.core.borrowing import borrowed_rules
from controller.core.routing import Routes, routes
from controller.core.rules import Program
from controller.core.state import State
from topologies.plan import SwitchPlan, SwitchRole

__all__ = ["programs", "static_programs"]


def programs(state: State) -> dict[str, Program]:
    """What every switch should hold, by switch name, in the plan's order."""
    lent = borrowed_rules(state.plan, state.leases, state.homes)
    return {
        name: Program(program.rules | lent.get(name, frozenset()), program.groups)
        for name, program in static_programs(state).items()
    }


def static_programs(state: State) -> dict[str, Program]:
    """The programs without leases and homes."""
    found = routes(state.plan)
    return {switch.name: _program(state, found, switch) for switch in state.plan.switches}


def _program(state: State, found: Routes, switch: SwitchPlan) -> Program:
    if switch.role is SwitchRole.TRANSIT:
        return Program(frozenset(transit.rules(state, found, switch)))
    group = service_group(state.plan, switch.city, state.weights)
    groups = frozenset({group} if group else ())
    return Program(frozenset(edge.rules(state, found, switch)), groups)
