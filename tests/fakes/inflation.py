"""Where BGP would bring clients in a perfect lab, by the model of the study inflation."""

from __future__ import annotations

from typing import Any

from experiments.runs.spec import Spec
from experiments.studies import inflation
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def brought(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Pings and observations: everybody lands where the policy says, in the model's time."""
    victim, prepend = oracle.busiest(), int(spec.number("prepend"))
    clients = made.hosts_of(HostRole.CLIENT)
    rows, landed = [], []
    for client in clients:
        for edge in made.edges:
            rtt_ms = oracle.rtt_ms(client.name, made.servers_of(edge.city)[0].name)
            rows += _pings(inflation.UNICAST, client.name, edge.city, rtt_ms)
    for arm in inflation.ARMS:
        chosen, pops = inflation.model(made, arm, victim, prepend)
        for client in clients:
            pop = chosen.catchment(client.city, pops)
            where = {"pop": pop, "spoken": pop, "probed": [pop]}
            landed.append({"arm": arm, "client": client.name, "city": client.city, **where})
            rows += _pings(arm, client.name, pop, chosen.anycast_rtt_ms(client.name, pops))
    return rows, {"victim": victim, "landed": landed}


def _pings(arm: str, client: str, pop: str | None, rtt_ms: float | None) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "client": client,
            "pop": pop,
            "sequence": sequence,
            "outcome": "ok",
            "rtt_ms": rtt_ms,
            "model_rtt_ms": rtt_ms,
        }
        for sequence in range(3)
    ]
