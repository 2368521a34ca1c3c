"""What servers would see in a perfect lab, by the model of the study crosspop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.runs.spec import Spec
from experiments.studies import crosspop as study
from experiments.verdict import crosspop
from experiments.verdict.oracle import Oracle
from topologies.plan import HostRole, Plan


def landed(spec: Spec, made: Plan, oracle: Oracle) -> tuple[list[dict[str, Any]], Any]:
    """Fetches by every state and announcement, downloads, and what the backbone carried."""
    rows: list[dict[str, Any]] = []
    crossed = []
    wanted = study.announcements(oracle, int(spec.number("landings")))
    models = {study.WHOLE: oracle, study.CUT: crosspop.without_backbone(made)}
    for state, model in models.items():
        for name, pops in wanted.items():
            mine = list(_fetches(model, state, name, pops))
            rows += mine
            packets = sum(
                crosspop.crossings(made, row["landing_pop"], row["pop"])[0]
                for row in mine
                if row["arm"] == study.BORROWED and state == study.WHOLE
            )
            crossed.append({"state": state, "announced": name, "packets": packets})
    rate = spec.number("rate_mbit_s") * crosspop.PAYLOAD_SHARE
    for state, mbit_s in ((study.FREE, 20.0), (study.LIMITED, 0.99 * rate)):
        for name in list(wanted)[1:]:
            rows += [_row(oracle, state, name, study.DOWNLOAD, pop, name) for pop in oracle.pops]
            for row in rows[-len(oracle.pops) :]:
                row["mbit_s"] = mbit_s
    return rows, {"crossed": crossed}


def _fetches(
    model: Oracle, state: str, name: str, pops: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    for pop in model.pops:
        for arm in (study.OWN, study.BORROWED):
            for _ in range(2):
                origin = model.plan.hosts_of(HostRole.ORIGIN)[0].name
                landing = crosspop.landing(model, origin, pops)
                row = _row(model, state, name, arm, pop, landing)
                rtt_ms = model.rtt_ms(row["server"], origin)
                if arm == study.BORROWED:
                    rtt_ms += crosspop.extra_ms(model, row["server"], origin, landing)
                yield row | {"rtt_ms": rtt_ms, "model_rtt_ms": rtt_ms}


def _row(
    model: Oracle, state: str, announced: str, arm: str, pop: str, landing: str
) -> dict[str, Any]:
    return {
        "state": state,
        "announced": announced,
        "arm": arm,
        "server": model.plan.servers_of(pop)[0].name,
        "pop": pop,
        "origin": model.plan.hosts_of(HostRole.ORIGIN)[0].name,
        "landing_pop": landing,
        "outcome": "ok",
        "rtt_ms": None,
        "model_rtt_ms": None,
        "mbit_s": None,
    }
