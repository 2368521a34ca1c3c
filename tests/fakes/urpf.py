"""What servers would see in a perfect lab, by the model of the study urpf."""

from __future__ import annotations

from typing import Any

from experiments.measure.reverse_path import Check
from experiments.runs.spec import Spec
from experiments.studies import urpf as study
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def checked(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], Any]:
    """Fetches by every check and announcement, and what upstreams refuse of them."""
    rows, refused = [], []
    for announced in study.announcements(oracle, int(spec.number("alone"))):
        for check in Check:
            for pop in oracle.pops:
                mine = list(_fetches(made, oracle, check, announced, pop))
                rows += mine
                packets = 0 if study.passes(oracle, check, pop, announced.pops) else len(mine)
                where = {"check": check.value, "announced": announced.name, "pop": pop}
                refused.append(where | {"packets": packets})
    return rows, {"refused": refused}


def _fetches(made: Plan, oracle: Oracle, check: Check, announced: study.Announced, pop: str) -> Any:
    answered = bool(announced.pops) and study.passes(oracle, check, pop, announced.pops)
    for server in made.servers_of(pop):
        for origin in made.hosts_of(HostRole.ORIGIN):
            rtt_ms = None
            if announced.pops:
                rtt_ms = oracle.borrowed_rtt_ms(server.name, origin.name, announced.pops)
            yield {
                "check": check.value,
                "announced": announced.name,
                "server": server.name,
                "pop": pop,
                "origin": origin.name,
                "outcome": "ok" if answered else "timeout",
                "rtt_ms": rtt_ms if answered else None,
                "model_rtt_ms": rtt_ms,
            }
