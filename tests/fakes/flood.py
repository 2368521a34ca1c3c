"""What requests would meet and uplinks would count in a perfect lab, by the study flood's model."""

from __future__ import annotations

import math
from typing import Any

from experiments import study
from experiments.runs.spec import Spec
from experiments.studies.flood import WARM_S
from experiments.verdict import flood
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def flooded(made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Requests of every arm, of which as many are answered as should be, and what uplinks count."""
    spec = Spec("flood", made.network, params=study.study("flood").params(True, {}))
    clients, full = made.hosts_of(HostRole.CLIENT), flood.target(oracle)
    rows, uplinks = [], []
    for arm in flood.ARMS:
        homes = {client.name: full for client in clients}
        if arm.anycast:
            without = full if arm.withdrawn else ""
            homes = {c.name: oracle.nearest_pops(c.name, without)[0] for c in clients}
        loads = flood.loads(oracle, spec, arm, homes)
        uplinks += [_uplink(spec, arm, pop, load) for pop, load in loads.items()]
        for client in clients:
            pop = homes[client.name]
            who = {"arm": arm.name, "client": client.name, "city": client.city, "pop": pop}
            server = made.servers_of(pop)[0].name
            idle_ms = flood.idle_rtt_ms(oracle, spec, arm, client.name, server)
            rows += [
                who | _request(spec, sequence, len(clients), 1 - loads[pop].lost, idle_ms)
                for sequence in range(_count(spec, len(clients)))
            ]
    return rows, {"uplinks": uplinks}


def _count(spec: Spec, clients: int) -> int:
    return math.ceil((WARM_S + spec.number("seconds")) * spec.number("requests_per_s") / clients)


def _request(
    spec: Spec, sequence: int, clients: int, answered: float, idle_ms: float
) -> dict[str, Any]:
    """Of all in a row a share is answered, evenly."""
    ok = math.floor((sequence + 1) * answered + 1e-9) > math.floor(sequence * answered + 1e-9)
    return {
        "sequence": sequence,
        "at_s": sequence * clients / spec.number("requests_per_s"),
        "outcome": "ok" if ok else "lost",
        "rtt_ms": idle_ms if ok else None,
        "model_rtt_ms": idle_ms,
    }


def _uplink(spec: Spec, arm: flood.Arm, pop: str, load: flood.Load) -> dict[str, Any]:
    """As if all packets were as large as an attacker's."""
    seconds = spec.number("seconds")
    offered = round(load.offered * flood.rate_bit_s(spec) * seconds / flood.FRAME_BITS)
    drops = round(offered * load.lost)
    passed = offered - drops
    row = {"arm": arm.name, "pop": pop, "ns": round(seconds * 1e9), "packets": passed}
    return row | {"bytes": passed * flood.FRAME_BITS // 8, "drops": drops}
