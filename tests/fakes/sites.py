"""What clients would measure in a perfect lab, by the model of the study sites."""

from __future__ import annotations

from typing import Any

from experiments.studies import sites as study
from experiments.verdict import sites
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def announced(made: Plan, oracle: Oracle, seed: int = 1) -> tuple[list[dict[str, Any]], Any]:
    """Pings to the service with every set of PoPs that the study announces."""
    wanted = [*study.points(oracle, seed).values(), study.without(oracle)[1]]
    ways = sites.rtts(oracle)
    rows = []
    for name in dict.fromkeys(study.named(oracle, pops) for pops in wanted):
        model = sites.nearest(ways, name.split())
        rows += [
            {
                "announced": name,
                "client": client.name,
                "city": client.city,
                "pop": oracle.nearest_of(client.name, name.split())[0],
                "sequence": sequence,
                "outcome": "ok",
                "rtt_ms": model[client.name],
                "model_rtt_ms": model[client.name],
            }
            for client in made.hosts_of(HostRole.CLIENT)
            for sequence in range(3)
        ]
    return rows, {}
