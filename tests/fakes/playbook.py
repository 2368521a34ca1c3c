"""What clients would say in a perfect lab of every way that is announced: the study playbook."""

from __future__ import annotations

import random
from typing import Any

from experiments import playbook
from experiments.runs.spec import Spec
from experiments.studies import playbook as study
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def played(spec: Spec, made: Plan, _oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and observations: everybody lands where the model says."""
    prepends, most, runs = (int(spec.number(x)) for x in ("prepends", "ways", "runs"))
    draw = random.Random(spec.seed).randbytes
    every = list(playbook.ways(len(made.edges), prepends, most, draw))
    rows = []
    for arm, way in study.to_run(made, every, prepends, runs):
        where = study.catchments(made, way)
        for client in made.hosts_of(HostRole.CLIENT):
            pop = where[client.city]
            who = {"arm": arm, "way": way, "client": client.name, "city": client.city}
            rows.append(who | {"outcome": "ok", "pop": pop, "probed": pop or ""})
    return rows, {"ways": every}
