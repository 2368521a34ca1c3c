"""Where clients would land in a perfect lab, by the model of the study catchment."""

from __future__ import annotations

from typing import Any

from controller.core.events import Event, OverrideSet, PolicySet, PopSet, PopState
from controller.core.steering import rank
from controller.core.world import World
from experiments.studies import catchment
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def caught(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Pings and observations: everybody lands where the ranking says, in the model's time."""
    city, far, pop = catchment.steered(made, oracle)
    by_hand: dict[str, Event] = {
        catchment.STEERED: OverrideSet(city, far),
        catchment.WITHDRAWN: PopSet(pop, PopState.WITHDRAWN),
        catchment.ANNOUNCED: PopSet(pop, PopState.ANNOUNCED),
    }
    arms: dict[str, Event] = {policy.value: PolicySet(policy) for policy in catchment.POLICIES}
    rows, found = [], []
    for client in made.hosts_of(HostRole.CLIENT):
        best = oracle.nearest_pops(client.name)[0]
        rows += _pings(made, oracle, catchment.BEST, client.name, best)
    for arm, event in (arms | by_hand).items():
        ranking = rank(World(made).after(event))
        for client in made.hosts_of(HostRole.CLIENT):
            pop = ranking[client.city][0]
            who = {"arm": arm, "client": client.name, "city": client.city, "named": pop}
            probed = {edge.city: [pop] for edge in made.edges}
            found.append(who | {"pop": pop, "server": f"{pop}-s1", "probed": probed})
            rows += _pings(made, oracle, arm, client.name, pop)
    return rows, {"catchments": found}


def _pings(made: Plan, oracle: Oracle, arm: str, client: str, pop: str) -> list[dict[str, Any]]:
    rtt_ms = oracle.rtt_ms(client, made.servers_of(pop)[0].name)
    return [
        {
            "arm": arm,
            "client": client,
            "sequence": sequence,
            "outcome": "ok",
            "rtt_ms": rtt_ms,
            "model_rtt_ms": rtt_ms,
        }
        for sequence in range(3)
    ]
