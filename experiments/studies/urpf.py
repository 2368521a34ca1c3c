"""Where does what servers send from borrowed addresses pass, if upstreams check reverse paths?

A borrowed address is announced by every PoP, or by some. Every server fetches from every origin
from what it has borrowed, while the upstream of each PoP checks nothing, loosely or strictly
whether it would send what is for that source back to the PoP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.measure.reverse_path import Check as Asked
from experiments.measure.reverse_path import need_one_packet
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Network, Policy, Upstream
from topologies.plan import HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.tcp import ConnectRow

EVERYWHERE, ALONE, NOWHERE = "everywhere", "one PoP", "nowhere"
KINDS = (EVERYWHERE, ALONE, NOWHERE)
"""Where the pools are announced."""


@dataclass(frozen=True, slots=True)
class Announced:
    """Who announces the pools: these PoPs."""

    kind: str
    pops: tuple[str, ...]

    @property
    def name(self) -> str:
        """As it stands in the samples; the PoP itself if it is one alone."""
        return self.pops[0] if self.kind == ALONE else self.kind


def announcements(oracle: Oracle, alone: int) -> tuple[Announced, ...]:
    """All PoPs, the first ones of them alone, none."""
    singles = (Announced(ALONE, (pop,)) for pop in oracle.pops[:alone])
    return (Announced(EVERYWHERE, oracle.pops), *singles, Announced(NOWHERE, ()))


def passes(oracle: Oracle, check: str, pop: str, pops: tuple[str, ...]) -> bool:
    """Whether the upstream of a PoP takes what it sends from an address that ``pops`` announce.

    Where switches carry packets its own route leads to the nearest of them.
    """
    if check == Asked.NONE:
        return True
    if check == Asked.LOOSE:
        return bool(pops)
    return oracle.anycast_pops(oracle.plan.transit(pop).name, pops) == (pop,)


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network as it is. Raises UsageError if it has one PoP, or packets would be sent twice."""
    alone = params["alone"]
    assert isinstance(alone, int | float)
    if alone < 1:
        raise UsageError("One PoP at least has to announce alone: use alone=1 or more.")
    if len(network.pops) < 2:
        raise UsageError(f"{network.name} has one PoP, which is everywhere: give it more (--pops).")
    need_one_packet(params["timeout_s"])
    return network


# -- what is done in the lab


def trial(t: Trial) -> None:
    """Every check by every announcement."""
    from experiments.measure.reverse_path import checking

    t.observed["refused"] = []
    announced = set(t.oracle.pops)
    for wanted in announcements(t.oracle, t.count("alone")):
        announced = t.announce(announced, set(wanted.pops))
        _fetch(t, Asked.NONE, wanted)
        for check in (Asked.LOOSE, Asked.STRICT):
            with checking(t.plan, check) as refused:
                t.lab.settle()
                _fetch(t, check, wanted)
                t.lab.settle()  # switches tell late what they have counted
                for pop, packets in refused().items():
                    row = {"check": check.value, "announced": wanted.name, "pop": pop}
                    t.observed["refused"].append(row | {"packets": packets})
    t.announce(announced, set(t.oracle.pops))


def _fetch(t: Trial, check: Asked, announced: Announced) -> None:
    """Every server connects to every origin, from what it has borrowed."""
    from experiments.measure.tcp import TcpAttempt, connect

    origins = {host.name: host.address for host in t.plan.hosts_of(HostRole.ORIGIN)}
    asked = [
        (origin, TcpAttempt(name, address, 80, IPv4Address(lease.address), lease.ports))
        for _ in range(t.count("fetches"))
        for name, lease in t.leases.items()
        for origin, address in origins.items()
    ]
    with t.timed_step(f"check {check}, announced {announced.name}"):
        rows = connect(
            [attempt for _, attempt in asked],
            timeout_s=t.param("timeout_s"),
            spacing_s=1 / t.param("rate_per_s"),
        )
    for (origin, _), row in zip(asked, rows, strict=True):
        t.reporter.emit(_row(t.oracle, check, announced, origin, row))


def _row(
    oracle: Oracle, check: Asked, announced: Announced, origin: str, row: ConnectRow
) -> dict[str, Any]:
    """What came of a fetch; the reply lands in the nearest PoP that announces, and comes home."""
    model_ms = None
    if announced.pops:
        model_ms = oracle.borrowed_rtt_ms(row.host, origin, announced.pops)
    return {
        "check": check.value,
        "announced": announced.name,
        "server": row.host,
        "pop": oracle.plan.host(row.host).city,
        "origin": origin,
        "outcome": row.outcome,
        "rtt_ms": None if row.handshake_rtt_ns is None else row.handshake_rtt_ns / 1e6,
        "model_rtt_ms": model_ms,
    }


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """What is refused and lost, by check and announcement, beside the model."""
    table = checks_table(e)
    metrics = {
        "pops": Metric(len(e.oracle.pops), "1"),
        "fetches": Metric(int(table["fetches"].sum()), "1"),
    }
    for (check, kind), mine in table.groupby(["check", "kind"], sort=False):
        key, total = f"{check}_{str(kind).lower().replace(' ', '_')}", int(mine["fetches"].sum())
        for name in ("refused", "lost", "model_refused"):
            share = float(mine[name].sum()) / total if total else None
            metrics[f"{key}_{name}_share"] = Metric(share, "1")
    return Findings(_answer(metrics), metrics, tuple(_checks(table)), {"checks": table})


def checks_table(e: Evidence) -> pd.DataFrame:
    """A row per check, announcement and PoP: fetches, what its upstream refused, what was lost."""
    import pandas as pd

    counted = {(x["check"], x["announced"], x["pop"]): x["packets"] for x in e.observed["refused"]}
    rows = []
    for announced in announcements(e.oracle, int(e.spec.number("alone"))):
        for check, pop in ((check, pop) for check in Asked for pop in e.oracle.pops):
            mine = e.samples[
                (e.samples["check"] == check)
                & (e.samples["announced"] == announced.name)
                & (e.samples["pop"] == pop)
            ]
            taken = passes(e.oracle, check, pop, announced.pops)
            row: dict[str, Any] = {"check": check.value, "announced": announced.name}
            row |= {"kind": announced.kind, "pop": pop, "announces": pop in announced.pops}
            row |= {"fetches": len(mine), "refused": counted.get((check, announced.name, pop), 0)}
            row |= {"model_refused": 0 if taken else len(mine)}
            row |= {"lost": int((mine["outcome"] != "ok").sum())}
            rows.append(row | {"model_lost": 0 if taken and announced.pops else len(mine)})
    return pd.DataFrame(rows)


def _checks(table: pd.DataFrame) -> Iterator[Check]:
    yield _all_of(
        "every upstream refuses what the model says, and nothing else",
        table,
        table["refused"] == table["model_refused"],
    )
    yield _all_of(
        "what is refused is lost, and what nobody could answer; nothing else is",
        table,
        table["lost"] == table["model_lost"],
    )
    everywhere = table[(table["kind"] == EVERYWHERE) & (table["model_refused"] == 0)]
    yield _all_of(
        "twin: announced everywhere nothing else is refused or lost, whatever is checked",
        everywhere,
        (everywhere["refused"] == 0) & (everywhere["lost"] == 0),
    )
    alone = table[table["kind"] == ALONE]
    strict = alone[alone["check"] == Asked.STRICT]
    others, own = strict[~strict["announces"]], strict[strict["announces"]]
    yield _all_of(
        "control: strict checks refuse all of PoPs that do not announce",
        others,
        (others["refused"] == others["fetches"]) & (others["lost"] == others["fetches"]),
    )
    yield _all_of("twin: they take all of the PoP that does", own, own["lost"] == 0)
    loose = alone[alone["check"] == Asked.LOOSE]
    yield _all_of(
        "twin: loose checks take all, whoever announces",
        loose,
        (loose["refused"] == 0) & (loose["lost"] == 0),
    )
    gone = table[(table["kind"] == NOWHERE) & (table["check"] != Asked.NONE)]
    yield _all_of(
        "control: what nobody announces is refused by any check",
        gone,
        gone["refused"] == gone["fetches"],
    )


def _all_of(name: str, rows: pd.DataFrame, right: pd.Series[bool]) -> Check:
    """Whether it holds of all rows, each of which is of something."""
    good = int((right & (rows["fetches"] > 0)).sum())
    told = f"{good} of {len(rows)} PoPs, by check and announcement"
    return Check(name, 0 < len(rows) == good, f"{told}; {int(rows['refused'].sum())} refused")


def _answer(metrics: Mapping[str, Metric]) -> str:
    alone, everywhere = (
        metrics[f"strict_{kind}_refused_share"].value for kind in ("one_pop", EVERYWHERE)
    )
    if alone is None or everywhere is None:
        return "Nothing was fetched, so nothing can be said."
    return (
        f"Upstreams that check strictly refuse {alone:.0%} of what servers send from borrowed"
        f" addresses if one PoP announces them, {everywhere:.0%} if all do."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """What is refused, by check and by who announces."""
    from experiments.show.figures import urpf as figure

    return [figure.draw(findings.tables["checks"], e.oracle.pops, folder / "urpf.png")]


STUDY = Study(
    name="urpf",
    question="Does what servers send from borrowed addresses pass upstreams that check its source?",
    baselines=("no check", "loose checks: any route to the source will do"),
    controls=(
        "strict checks must refuse PoPs that do not announce what they borrow",
        "what nobody announces must be refused by any check",
    ),
    parameters={
        "alone": Parameter(5, 1, "PoPs that announce alone, one by one: the network's first"),
        "fetches": Parameter(4, 2, "fetches of each server from each origin", least=1),
        "rate_per_s": Parameter(200, 200, "fetches per second in the whole network", least=SOME),
        "timeout_s": Parameter(0.8, 0.8, "when a fetch is given up, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    families=(4,),  # what is lent is IPv4
    policies=(Policy.NEAREST, Policy.BGP),
    upstreams=tuple(Upstream),
    timed=Timed(("check", "announced", "pop"), where=lambda s: s["check"] != "", arm="check"),
)
