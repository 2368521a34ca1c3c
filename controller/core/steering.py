"""Steering: which PoP serves which city.

A policy is a pure function that ranks the PoPs for every city, best first. The best one gets the
city's traffic; the others are there for policies and for failures to fall back on.
"""

from __future__ import annotations

from typing import Protocol

from controller.core import routing
from controller.core.state import Ranking
from topologies.plan import Plan


class Policy(Protocol):
    """Ranks the PoPs (named by city code) for every city; a PoP that is left out is not used."""

    def __call__(self, plan: Plan, /) -> Ranking:
        """City code to PoP codes, best first."""
        ...


def nearest(plan: Plan) -> Ranking:
    """Rank by one-way delay over the city graph plus the PoP's uplink.

    Ties go to fewer hops, then to the PoP with the lower number. PoPs out of reach are left out.
    """
    reach = []
    for edge in plan.edges:
        graph = routing.label_graph(plan, edge)
        reach.append((edge, routing.costs(graph, edge.name)))
    return {
        transit.city: tuple(
            pop
            for _, _, pop in sorted(
                (cost[transit.name], edge.number, edge.city)
                for edge, cost in reach
                if transit.name in cost
            )
        )
        for transit in plan.transits
    }
