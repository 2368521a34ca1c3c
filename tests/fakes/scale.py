"""What a perfect lab, and the controller's core, would say to the study scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from experiments.runs.spec import Spec
from experiments.studies import scale as study
from experiments.verdict import scale
from experiments.verdict.oracle import Oracle
from experiments.verdict.scale import Held
from topologies.plan import HostRole, Plan

OTHERS = 80
"""Rules of a switch that no lease needs."""


def scaled(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], Any]:
    """Rules round by round, one row per act, and the core's rules by the closed form."""
    servers, rounds = made.hosts_of(HostRole.SERVER), int(spec.number("leases"))
    held, models, rows = [Held(f"203.0.113.{s.city}", s.city, s.city) for s in servers], [], []
    for turn in range(rounds + 1):
        if turn:
            more = [Held(f"203.0.{turn}.{s.city}", s.city, s.city) for s in servers]
            rows += list(_acts(len(made.edges), held, more))
            held += more
        models.append(scale.rules(made, held))
        for switch in made.switches:
            counted = models[-1].get(switch.name, Counter()) | {"others": OTHERS}
            row = {"place": study.LAB, "round": turn, "leases": len(held), "switch": switch.name}
            rows += _counted(row, counted)
    rows += [_act(study.RELEASE, scale.OF_A_LEASE) for _ in range(rounds * len(servers))]
    for size in study._sizes(spec.params):
        row = {"place": study.CORE, "pops": size.pops, "servers": size.servers, "most": 500}
        rows += _counted(row | {"leases": size.leases}, scale.total(size) | {"others": 5000})
    rows += list(_connections(made, oracle, int(spec.number("connections"))))
    rows += [_act(act, 4) for act in study.HANDED_UP for _ in servers]
    handed = {act: each * len(servers) for act, each in study.HANDED_UP.items()}
    handed |= dict.fromkeys((study.CONNECT, study.FETCH), 0)
    return rows, {
        "model": models,
        "handed": {act: {"packet_ins": count, "dhcp": count} for act, count in handed.items()},
        "cpu_s": {},
        "build_s": {"programming": 0.4, "leases": 0.5},
    }


def _acts(pops: int, held: list[Held], more: list[Held]) -> Iterator[dict[str, Any]]:
    known = {lease.address for lease in held}
    for lease in more:
        yield _act(study.ACQUIRE, scale.changed(pops, lease, opened=lease.address not in known))
        known.add(lease.address)


def _act(act: str, changes: int) -> dict[str, Any]:
    row = {"place": study.LAB, "act": act, "outcome": "ok", "took_ms": 8.0}
    return row | {"changes": changes, "model_changes": changes}


def _counted(row: Mapping[str, Any], counted: Mapping[str, int]) -> list[dict[str, Any]]:
    told = dict(row) | {"act": study.COUNT, "outcome": "ok"}
    duties = (*scale.LEASED, "others")
    return [told | {"duty": duty, "rules": counted.get(duty, 0)} for duty in duties]


def _connections(made: Plan, oracle: Oracle, each: int) -> Iterator[dict[str, Any]]:
    origin = made.hosts_of(HostRole.ORIGIN)[0].name
    ways = [(study.CONNECT, host.name, "service") for host in made.hosts_of(HostRole.CLIENT)]
    ways += [(study.FETCH, host.name, origin) for host in made.hosts_of(HostRole.SERVER)]
    for act, host, target in ways:
        row = {"place": study.LAB, "act": act, "host": host, "target": target, "outcome": "ok"}
        rtt_ms = oracle.rtt_ms(host, origin)
        yield from [row | {"rtt_ms": rtt_ms, "model_rtt_ms": rtt_ms}] * each
