"""What visitors would see in a perfect lab, by the model of the study names."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

from experiments.runs.spec import Spec
from experiments.studies import names as study
from experiments.verdict import names
from experiments.verdict.oracle import Oracle
from topologies import binding
from topologies.model import Names
from topologies.plan import HostRole, Plan

WITHDRAWN_AFTER_S = 0.5
"""So long after names have left an address it is withdrawn everywhere."""


def visited(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], Any]:
    """Visits of every arm, and when names left the address."""
    rows: list[dict[str, Any]] = []
    for number, arm in enumerate(study.bindings(spec)):
        rows += _loaded(spec, made, oracle, arm, number)
    left: dict[str, Any] = {}
    for number, leaving in enumerate(study.leavings(spec)):
        moved_s = leaving.moved_s + 0.01
        left[leaving.name] = {"moved": moved_s, "gone": moved_s + WITHDRAWN_AFTER_S}
        rows += _left(spec, made, oracle, leaving, number)
    return rows, {"left": left}


def _loaded(
    spec: Spec, made: Plan, oracle: Oracle, arm: study.Binding, number: int
) -> list[dict[str, Any]]:
    chance = random.Random(f"fake {number}")
    among = names.addresses(made.network.services, arm.count)
    bind = binding.binding(arm.how, among, "fake")
    clients = made.hosts_of(HostRole.CLIENT)
    count = int(spec.number("visits"))
    rows = []
    for n in chance.choices(range(int(spec.number("names"))), study.shares(spec), k=count):
        place = (chance.choice(clients).name, names.named(n, made.network.zone))
        rows.append(_row(made, oracle, arm.name, place, 0.0, str(bind(place[1]))))
    return rows


def _left(
    spec: Spec, made: Plan, oracle: Oracle, arm: study.Leaving, number: int
) -> list[dict[str, Any]]:
    left_s, visits = study.planned(spec, study.visitors(spec, made), arm, number)
    times: defaultdict[Any, list[float]] = defaultdict(list)
    for place, at_s in visits:
        times[place].append(at_s)
    moved_s = arm.moved_s + 0.01
    ways = {
        place: names.follow(at_s, left_s[place], arm.ttl_s, arm.hold_s, moved_s)
        for place, at_s in times.items()
    }
    attacked, heir = map(str, study.roles(made.network))
    rows = []
    for place, at_s in visits:
        seen = next(ways[place])
        row = _row(made, oracle, arm.name, place, at_s, attacked if seen.old else heir)
        row |= {"asked": seen.asked, "opened": seen.opened}
        if arm.withdrawn and seen.old and at_s > moved_s + WITHDRAWN_AFTER_S:
            row |= {"outcome": "timeout", "reached": None, "pop": None, "rtt_ms": None}
        rows.append(row)
    return rows


def _row(
    made: Plan, oracle: Oracle, arm: str, place: tuple[str, str], at_s: float, address: str
) -> dict[str, Any]:
    client, name = place
    how = arm.partition(" ")[0]
    pop = oracle.nearest_pops(client)[0]
    rtt_ms = oracle.rtt_ms(client, made.servers_of(pop)[0].name)
    return {
        "arm": arm,
        "binding": how if how in tuple(Names) else Names.ONE.value,
        "client": client,
        "city": made.host(client).city,
        "name": name,
        "planned_s": at_s,
        "at_s": at_s,
        "asked": True,
        "opened": True,
        "address": address,
        "reached": address,
        "pop": pop,
        "outcome": "ok",
        "rtt_ms": rtt_ms,
        "model_rtt_ms": rtt_ms,
    }
