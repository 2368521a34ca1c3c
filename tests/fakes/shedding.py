"""What a rush would be like in a perfect lab, by the model of the study shedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.core.events import PolicySet
from controller.core.shedding import Assignment, decide
from controller.core.steering import rank
from controller.core.world import World
from experiments.studies import shedding
from experiments.verdict.oracle import Oracle
from topologies.model import Policy
from topologies.plan import HostRole, Plan

UNIT_PER_S = 5
LASTS_S = {"calm_s": 6, "rush_s": 14}
KNOWN_S = 5
"""So long after a step began the controller knows of it, and decides."""


def shed(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Requests that go where the ranking says, and a controller that knows each step late."""
    rows: list[dict[str, Any]] = []
    observed: dict[str, Any] = {"told": [], "shed": []}
    for arm in shedding.ARMS:
        world, at_s = World(made).after(PolicySet(Policy(arm))), 0
        for step in shedding.STEPS:
            case, demand = {"arm": arm, "step": step.name}, _demand(made, oracle, step)
            for second in range(LASTS_S[step.lasts]):
                decided = decide(world, demand) if second == KNOWN_S else ()
                world = world.after(*decided)
                observed["shed"] += [{"arm": arm, "city": x.city} for x in decided if x.shed]
                loads = Assignment(world, demand).loads if arm == shedding.OURS else {}
                observed["told"].append({**case, "at_s": float(at_s), "loads": loads})
                rows += _requests(made, oracle, case, world, demand, at_s)
                at_s += 1
    return rows, observed


def _demand(made: Plan, oracle: Oracle, step: shedding.Step) -> dict[str, float]:
    """By city; each has its clients at one place."""
    _, busy = shedding.region(made, oracle)
    demand: dict[str, float] = {}
    for client in made.hosts_of(HostRole.CLIENT):
        units = step.units if client.name in busy else shedding.QUIET_UNITS
        demand[client.city] = demand.get(client.city, 0.0) + units * UNIT_PER_S
    return demand


def _requests(
    made: Plan,
    oracle: Oracle,
    case: Mapping[str, str],
    world: World,
    demand: Mapping[str, float],
    at_s: int,
) -> Iterator[dict[str, Any]]:
    """Those of one second."""
    ranking = rank(world)
    for client in made.hosts_of(HostRole.CLIENT):
        server = made.servers_of(ranking[client.city][0])[0]
        rtt_ms = oracle.rtt_ms(client.name, server.name)
        who = {**case, "client": client.name, "city": client.city}
        came = {"pop": server.city, "server": server.name, "outcome": "ok"}
        took = {"rtt_ms": rtt_ms, "model_rtt_ms": rtt_ms}
        requests = round(demand[client.city] / len(_together(made, client.city)))
        for number in range(requests):
            yield {**who, "at_s": at_s + number / requests, **came, **took}


def _together(made: Plan, city: str) -> list[str]:
    return [client.name for client in made.hosts_of(HostRole.CLIENT) if client.city == city]
