"""What does it cost to share one address among all servers of a PoP?

Every server fetches from every origin, once paced and once all at once, by each design of egress:

- ``own``: every server owns an address (many addresses, straight paths),
- ``owner``: one server in the network owns the address, all others go through it by CONNECT,
- ``pop owner``: likewise with an owner in each PoP,
- ``port sets``: the servers of a PoP share one address by leases; replies are found by port,
- ``plain anycast``, the control: servers egress from the service address with no dispatch of
  returns, so replies end in the PoP nearest to the origin and must be lost if that is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.parameters import SOME, Parameter
from experiments.study import (
    STILL_DUTIES,
    Evidence,
    Findings,
    Study,
    Trial,
    total,
)
from experiments.verdict import egress
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Policy, Upstream
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.http import Request

DESIGNS = ("own", "owner", "pop owner", "port sets", "plain anycast")
BORROWED = "port sets"
CONTROL = "plain anycast"
PHASES = ("paced", "at once")

SHARE_TOLERANCE = 0.05
"""How far the counted share of replies that came home may be from the model's."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch: who, how, from where."""

    design: str
    server: HostPlan
    origin: HostPlan


def trial(t: Trial) -> None:
    """Fetch paced, then all at once, under the eyes of a judge in every server."""
    before = t.counters()
    with t.judge() as judge:
        _paced(t)
        _at_once(t)
        t.observed |= judge.totals()
    counted = t.counters_since(before)
    t.observed["counters"] = {duty: total(counted, duty) for duty in STILL_DUTIES}


def _fetches(t: Trial, times: int, designs: Iterable[str] = DESIGNS) -> list[Fetch]:
    """Every design, server and origin, in an order that only the seed decides."""
    servers, origins = t.plan.hosts_of(HostRole.SERVER), t.plan.hosts_of(HostRole.ORIGIN)
    fetches = [
        Fetch(design, server, origin)
        for design in designs
        for server in servers
        for origin in origins
        for _ in range(times)
    ]
    t.random.shuffle(fetches)
    return fetches


CROWD_TIMEOUT_S = 20.0
"""When a fetch in a crowd is given up: far beyond TCP's first retransmissions."""


def _paced(t: Trial) -> None:
    fetches = _fetches(t, t.count("fetches"))
    spacing_s = 1 / t.param("rate_per_s")
    with t.timed_step(f"{len(fetches)} fetches, paced", len(fetches) * spacing_s):
        _fetch(t, "paced", fetches, spacing_s, _timeout_s(t))


def _at_once(t: Trial) -> None:
    """Design by design: all servers, all origins, in one moment."""
    for design in DESIGNS:
        fetches = _fetches(t, t.count("burst"), [design])
        # In a crowd a slow machine answers late, which is no loss; of the control nothing comes.
        timeout_s = _timeout_s(t) if design == CONTROL else CROWD_TIMEOUT_S
        with t.step(f"{len(fetches)} fetches at once, {design}"):
            _fetch(t, "at once", fetches, 0.0, timeout_s)


def _fetch(t: Trial, phase: str, fetches: list[Fetch], spacing_s: float, timeout_s: float) -> None:
    from experiments.measure.http import get

    rows = get(
        [_request(t, fetch) for fetch in fetches],
        timeout_s=timeout_s,
        at_once=1024,
        spacing_s=spacing_s,
    )
    for fetch, row in zip(fetches, rows, strict=True):
        t.reporter.emit(
            {
                "phase": phase,
                "design": fetch.design,
                "server": fetch.server.name,
                "pop": fetch.server.city,
                "origin": fetch.origin.name,
                "landing_pop": t.oracle.anycast_pops(fetch.origin.name, t.oracle.pops)[0],
                "outcome": row.outcome,
                "seen_address": row.fields.get("client"),
                "source_port": row.local_port,
                "rtt_ms": None if row.warm_rtt_ns is None else row.warm_rtt_ns / 1e6,
                "total_ms": None if row.total_ns is None else row.total_ns / 1e6,
                "model_rtt_ms": _model_rtt_ms(t, fetch),
            }
        )


def _owner(t: Trial, fetch: Fetch) -> HostPlan | None:
    """The server whose proxy a fetch goes through; None if it goes straight."""
    if fetch.design == "owner":
        owner = t.plan.servers_of(t.oracle.one_owner())[0]
    elif fetch.design == "pop owner":
        owner = t.plan.servers_of(fetch.server.city)[0]
    else:
        return None
    return None if owner == fetch.server else owner


def _request(t: Trial, fetch: Fetch) -> Request:
    from experiments.measure.http import Proxy, Request

    lease = t.leases[fetch.server.name]
    owner = _owner(t, fetch)
    source = fetch.server.address
    if fetch.design == BORROWED:
        source = IPv4Address(lease.address)
    elif fetch.design == CONTROL:
        source = t.plan.network.services[0]
    return Request(
        fetch.server.name,
        fetch.origin.address,
        source=source,
        ports=lease.ports,
        proxy=Proxy(owner.address) if owner else None,
        warm=True,
    )


def _timeout_s(t: Trial) -> float:
    """Several times the longest fetch there can be, so that only what is lost runs into it."""
    servers, origins = t.plan.hosts_of(HostRole.SERVER), t.plan.hosts_of(HostRole.ORIGIN)
    longest_ms = max(t.oracle.rtt_ms(s.name, o.name) for s in servers for o in origins)
    return max(t.param("timeout_s"), 12 * longest_ms / 1000)


def _model_rtt_ms(t: Trial, fetch: Fetch) -> float:
    server, origin = fetch.server.name, fetch.origin.name
    owner = _owner(t, fetch)
    if owner is not None:
        return t.oracle.rtt_ms(server, owner.name) + t.oracle.rtt_ms(owner.name, origin)
    if fetch.design == BORROWED:
        return t.oracle.borrowed_rtt_ms(server, origin, t.oracle.pops)
    return t.oracle.rtt_ms(server, origin)


def evaluate(e: Evidence) -> Findings:
    """Designs side by side; counters and the judge speak for the borrowed address alone."""
    from experiments import stats

    designs = designs_table(e)
    by_design = {row["design"]: row for row in designs.to_dict("records")}
    borrowed = e.samples[e.samples["design"] == BORROWED]
    plain = by_design[CONTROL]
    crossed, returned = (e.observed["counters"].get(duty, 0) for duty in ("home", "return"))
    metrics = {
        "addresses_used": Metric(by_design[BORROWED]["addresses"], "1"),
        "addresses_per_pop_max": Metric(_most_per_pop(borrowed), "1"),
        "servers": Metric(int(e.samples["server"].nunique()), "1"),
        "connections_ok": Metric(int((borrowed["outcome"] == "ok").sum()), "1"),
        "connections_total": Metric(len(borrowed), "1"),
        "delivered": Metric(e.observed["delivered"], "packets"),
        "misdelivered": Metric(e.observed["misdelivered"], "packets"),
        "cross_pop_share": Metric(stats.share(crossed, returned), "1"),
        "cross_pop_share_model": Metric(_model_share(borrowed), "1"),
        "plain_anycast_lost_share": Metric(plain["lost_share"], "1"),
    }
    for design in DESIGNS:
        metrics[f"{design.replace(' ', '_')}_rtt_p50"] = Metric(
            by_design[design]["rtt_p50_ms"], "ms"
        )
    checks = _checks(e, metrics)
    return Findings(_answer(metrics, by_design), metrics, checks, {"designs": designs})


def _most_per_pop(borrowed: pd.DataFrame) -> int:
    good = borrowed[borrowed["outcome"] == "ok"]
    return int(good.groupby("pop")["seen_address"].nunique().max()) if len(good) else 0


def _model_share(borrowed: pd.DataFrame) -> float:
    """The share of replies that must land in a PoP other than the borrower's."""
    return float((borrowed["pop"] != borrowed["landing_pop"]).mean())


def designs_table(e: Evidence) -> pd.DataFrame:
    """A row per design: addresses it needed, RTT to origin when paced, and what got through."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for design in DESIGNS:
        frame = e.samples[e.samples["design"] == design]
        paced, good = frame[frame["phase"] == "paced"], frame[frame["outcome"] == "ok"]
        rtt = paced["rtt_ms"].dropna()
        rows.append(
            {
                "design": design,
                "addresses": good["seen_address"].nunique(),
                "rtt_p50_ms": rtt.median(),
                "rtt_p95_ms": rtt.quantile(0.95) if len(rtt) else None,
                "model_rtt_p50_ms": paced["model_rtt_ms"].median(),
                "ok": len(good),
                "total": len(frame),
                "lost_share": 1 - len(good) / len(frame),
            }
        )
    return pd.DataFrame(rows)


def _checks(e: Evidence, metrics: dict[str, Metric]) -> tuple[Check, ...]:
    ok, total = metrics["connections_ok"].value, metrics["connections_total"].value
    wrong, right = e.observed["misdelivered"], e.observed["delivered"]
    share, model = metrics["cross_pop_share"].value, metrics["cross_pop_share_model"].value
    close = share is not None and model is not None and abs(share - model) <= SHARE_TOLERANCE
    counted = "none" if share is None else f"{share:.3f}"
    return (
        Check("every borrowed connection works", ok == total, f"{ok} of {total}"),
        Check(
            "no reply is misdelivered",
            wrong == 0 and right > 0,
            f"{wrong} of {right} packets reached a server that does not hold their port",
        ),
        Check(
            "replies that land elsewhere come home",
            close,
            f"share counted by the switches {counted}, by the model {model:.3f}",
        ),
        *_baselines(e),
        *egress.plain_anycast_checks(e.samples[e.samples["design"] == CONTROL], e.plan),
    )


def _baselines(e: Evidence) -> tuple[Check, ...]:
    baselines = e.samples[~e.samples["design"].isin((BORROWED, CONTROL))]
    good = int((baselines["outcome"] == "ok").sum())
    return (
        Check(
            "the baselines work",
            good == len(baselines),
            f"{good} of {len(baselines)} fetches by the other designs",
        ),
    )


def _answer(metrics: dict[str, Metric], designs: dict[Any, dict[Any, Any]]) -> str:
    used, servers = metrics["addresses_used"].value, metrics["servers"].value
    own, shared = designs["own"]["rtt_p50_ms"], designs[BORROWED]["rtt_p50_ms"]
    lost = metrics["plain_anycast_lost_share"].value
    assert lost is not None
    if own != own or shared != shared:
        return "Not every design was answered, so there is nothing to compare."
    return (
        f"{servers} servers share {used} addresses and reach origins in {shared:.1f} ms (median; "
        f"{own:.1f} ms with an address each); without return dispatch {lost:.0%} are lost."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Cost against speed and what got through, by design."""
    from experiments.show.figures import borrowing as figure

    return [figure.draw(findings.tables["designs"], folder / "egress-designs.png")]


STUDY = Study(
    name="borrowing",
    question="What does it cost to share one address among all servers of a PoP?",
    baselines=(
        "own: every server owns an address",
        "owner: one server owns the address, the others forward to it",
        "pop owner: likewise, one owner in each PoP",
    ),
    controls=("plain anycast egress must lose the replies that land in another PoP",),
    parameters={
        "fetches": Parameter(10, 1, "paced fetches per server, origin and design", least=1),
        "rate_per_s": Parameter(
            30, 30, "paced fetches per second in the whole network", least=SOME
        ),
        "burst": Parameter(10, 3, "fetches at once per server, origin and design", least=1),
        "timeout_s": Parameter(3, 2, "when a fetch is given up, seconds (longer on long paths)"),
    },
    families=(4,),  # what is lent is IPv4
    policies=(Policy.NEAREST, Policy.BGP),
    upstreams=tuple(Upstream),
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    timed=Timed(
        ("design", "pop"),
        # Proxies on the way compute; a crowd waits for processors.
        where=lambda s: s["design"].isin(["own", BORROWED]) & (s["phase"] == "paced"),
        floor_us=1000.0,
        arm="design",
    ),
)
