"""What servers would see in a perfect lab, by the model of the study announcing."""

from __future__ import annotations

from typing import Any

from experiments.measure.reverse_path import Check
from experiments.runs.spec import Spec
from experiments.studies import announcing as study
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def told(_spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Two fetches by every way and check, and what switches, upstreams and speakers tell of it."""
    rows, landed, refused = [], [], []
    for way in study.WAYS:
        for check in study.CHECKS:
            mine = [row for row in _fetches(made, oracle, way, check) for _ in range(2)]
            rows += mine
            for pop in oracle.pops:
                where = {"way": way, "check": check.value, "pop": pop}
                away = [x for x in mine if x["landing_pop"] == pop != x["pop"]]
                counts = way in study.BORROWED
                home = sum(x["outcome"] == "ok" for x in away) if counts else 0
                landed.append(where | {"packets": home})
                passes = study.passes(oracle, check, way, pop)
                packets = 0 if passes else sum(x["pop"] == pop for x in mine)
                refused.append(where | {"packets": packets})
    observed = {"landed": landed, "refused": refused, "spoken": _spoken(made, oracle)}
    return rows, observed | {"owner": oracle.one_owner()}


def _fetches(made: Plan, oracle: Oracle, way: str, check: Check) -> list[dict[str, Any]]:
    rows = []
    for server in made.hosts_of(HostRole.SERVER):
        for origin in made.hosts_of(HostRole.ORIGIN):
            landing = study.landing(oracle, way, server.city, origin.name)
            answered = study.passes(oracle, check, way, server.city)
            answered = answered and not (way == study.PLAIN and landing != server.city)
            rtt_ms = study.rtt_ms(oracle, way, server.name, origin.name)
            rows.append(
                {
                    "way": way,
                    "check": check.value,
                    "server": server.name,
                    "pop": server.city,
                    "origin": origin.name,
                    "source": server.name if way == study.OWN else server.city,
                    "landing_pop": landing,
                    "outcome": "ok" if answered else "timeout",
                    "rtt_ms": rtt_ms if answered else None,
                    "model_rtt_ms": rtt_ms,
                }
            )
    return rows


def _spoken(made: Plan, oracle: Oracle) -> list[dict[str, Any]]:
    prefixes = {"pool": (study.EVERYWHERE, "")}
    prefixes |= {pop: (study.AT_HOME, pop) for pop in oracle.pops}
    return [
        {
            "way": way,
            "prefix": prefix,
            "home": home,
            "routers": len(made.routers),
            "origin": origin.name,
            "pop": study.landing(oracle, way, home, origin.name),
        }
        for prefix, (way, home) in prefixes.items()
        for origin in made.hosts_of(HostRole.ORIGIN)
    ]
