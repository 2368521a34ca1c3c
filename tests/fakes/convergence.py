"""What clients would see in a perfect lab when PoPs come and go: the study convergence."""

from __future__ import annotations

from typing import Any

from experiments.runs.spec import Spec
from experiments.studies import convergence
from experiments.study import Evidence
from experiments.verdict.oracle import Oracle
from topologies.plan import HostPlan, HostRole, Plan

PROBES = 60


def followed(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and observations: everybody is lost for a tenth of a second, or until timers say so."""
    link = convergence.felt(made)
    observed: dict[str, Any] = {
        "victim": oracle.busiest(),
        "link": None if link is None else link.number,
        "changes": [],
    }
    rows: list[dict[str, Any]] = []
    changes = [x for x in convergence.CHANGES if x != convergence.CUT or link is not None]
    blank = Evidence(spec, made, oracle, None, {})  # type: ignore[arg-type]
    for arm in convergence.arms(blank):
        for change in changes:
            expected = _expected(made, oracle, observed, change)
            case = {"arm": arm, "change": change}
            steered = {} if made.routers else expected
            told = {"updates": 7, "choices": 9} if made.routers else {}
            observed["changes"].append(case | told | {"steered": steered})
            before = _expected(made, oracle, observed, convergence.NOTHING)
            if change == convergence.ANNOUNCED:
                before = _expected(made, oracle, observed, convergence.WITHDRAWN)
            for client in made.hosts_of(HostRole.CLIENT):
                ends = (before[client.city], expected[client.city])
                rows += [case | row for row in _asked(spec, client, arm, change, ends)]
    return rows, observed


def _expected(
    made: Plan, oracle: Oracle, observed: dict[str, Any], change: str
) -> dict[str, str | None]:
    if made.routers:
        return convergence.expected_by_bgp(made, observed, change)
    gone = observed["victim"] if change in convergence.GONE else ""
    return {
        client.city: oracle.nearest_pops(client.name, gone)[0]
        for client in made.hosts_of(HostRole.CLIENT)
    }


def _asked(
    spec: Spec, client: HostPlan, arm: str, change: str, ends: tuple[str | None, str | None]
) -> list[dict[str, Any]]:
    """The probes of one client, which is away for a while if its PoP changes."""
    away_ms = 100.0
    if change == convergence.SILENT:
        quick = arm == convergence.SDN or arm.endswith(convergence.WITH_BFD)
        away_ms = 300.0 if quick else 1e3 * spec.number("hold_s") - 500.0
    moves = ends[0] != ends[1]
    last_ms = 1e3 * (spec.number("hold_s") + 5)
    times = [-1000.0 + n * (last_ms + 1000.0) / PROBES for n in range(PROBES)]
    rows = []
    for sequence, after_ms in enumerate(sorted([*times, 1.0, away_ms + 1.0])):
        lost = moves and 0 <= after_ms < away_ms
        rows.append(
            {
                "client": client.name,
                "city": client.city,
                "sequence": sequence,
                "after_ms": after_ms,
                "outcome": "lost" if lost else "ok",
                "pop": None if lost else ends[0] if after_ms < 0 else ends[1],
                "rtt_ms": None if lost else 5.0,
            }
        )
    return rows
