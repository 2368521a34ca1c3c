"""Where does each policy send whom, and what does it cost?

By each policy every client asks the service, and the server that answers names its PoP. Beside it
every PoP probes every client from the anycast address: the reply lands where the client's city
is sent, as Verfploeter maps catchments (de Vries et al., IMC 2017). Clients ping the service, and
their own best PoP. Then a city is steered to its farthest PoP by hand, and a PoP is withdrawn and
announced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.parameters import SOME, Parameter
from experiments.study import Evidence, Findings, Study, Trial, with_a_choice
from experiments.verdict import landing
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import SHARE, Timed
from topologies.geography import FIBRE_KM_PER_S, distance_km
from topologies.model import Policy
from topologies.plan import HostPlan, HostRole, Plan

if TYPE_CHECKING:
    import pandas as pd

POLICIES = (Policy.NEAREST, Policy.BGP, Policy.REGIONAL, Policy.WEIGHTED)
"""Capacity is as nearest until a city is shed."""

BEST, STEERED, WITHDRAWN, ANNOUNCED = "best", "steered", "withdrawn", "announced"
BY_DELAY = (Policy.NEAREST.value, WITHDRAWN, ANNOUNCED)
"""Where the oracle knows by itself who goes where."""

FLOOR_MS = 0.5
"""An inflation below that is none: an emulated RTT is no truer."""

THRESHOLDS_MS = (0, 25, 100)


def trial(t: Trial) -> None:
    """Each policy, then what people do by hand."""
    t.observed["catchments"] = []
    clients = t.plan.hosts_of(HostRole.CLIENT)
    with t.timed_step(f"{len(clients)} clients ping their best PoP"):
        best = {client.name: t.oracle.nearest_pops(client.name)[0] for client in clients}
        _ping(t, BEST, best)
    for policy in POLICIES:
        t.lab.control.policy_set(policy.value)
        _look(t, policy.value)
    t.lab.control.policy_set(Policy.NEAREST.value)
    city, far, pop = steered(t.plan, t.oracle)
    t.lab.control.city_steer(city, far)
    _look(t, STEERED)
    t.lab.control.city_release(city)
    t.lab.control.pop_withdraw(pop)
    _look(t, WITHDRAWN)
    t.lab.control.pop_announce(pop)
    _look(t, ANNOUNCED)


def steered(plan: Plan, oracle: Oracle) -> tuple[str, str, str]:
    """The city that is steered, its farthest PoP, and its nearest, which is withdrawn later."""
    client = plan.hosts_of(HostRole.CLIENT)[0]
    far = max(oracle.pops, key=lambda pop: oracle.delay_ns(client.name, plan.edge(pop).name))
    return client.city, far, oracle.nearest_pops(client.name)[0]


def _look(t: Trial, arm: str) -> None:
    """Where everybody lands now, by all that can tell, and how long it takes."""
    t.lab.settle()
    clients = t.plan.hosts_of(HostRole.CLIENT)
    named = {client.name: _named(t, client) for client in clients}
    with t.step(f"{arm}: where clients land"):
        landed, probed = landing.asked(t, clients), landing.probed(t, clients)
    for client in clients:
        fields = landed.get(client.name, {})
        t.observed["catchments"].append(
            {
                "arm": arm,
                "client": client.name,
                "city": client.city,
                "pop": fields.get("pop", ""),
                "server": fields.get("server", ""),
                "named": named[client.name],
                "probed": probed[client.name],
            }
        )
    with t.timed_step(f"{arm}: {len(clients)} clients ping"):
        _ping(t, arm, named)


def _named(t: Trial, client: HostPlan) -> str:
    """The PoP that the controller says the client goes to, and why; empty if it has none."""
    chosen = t.lab.control.why(client.name)["pops"]
    return next((pop["pop"] for pop in chosen if pop["place"] == 1), "")


def _ping(t: Trial, arm: str, pops: Mapping[str, str]) -> None:
    """Ping the service, or by arm ``best`` a server; ``pops`` says where clients should land."""
    from experiments.measure.echo import EchoProbe

    servers = {client: t.plan.servers_of(pop)[0] for client, pop in pops.items() if pop}
    probes = [
        EchoProbe(client, t.address(servers[client]) if arm == BEST else t.service)
        for client in pops
    ]
    for row in t.ping(probes, count=t.count("pings")):
        server = servers.get(row.host)
        t.reporter.emit(
            {
                "arm": arm,
                "client": row.host,
                "sequence": row.sequence,
                "sent_ns": row.sent_ns,
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": server and t.oracle.rtt_ms(row.host, server.name),
            }
        )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Medians by client first, so that every client counts once."""
    catchments = catchments_table(e)
    loads = loads_table(e.plan, catchments)
    metrics = {"clients": Metric(len(e.plan.hosts_of(HostRole.CLIENT)), "1")}
    for policy in POLICIES:
        metrics |= _metrics_of(policy.value, catchments, loads)
    tables = {"catchments": catchments, "loads": loads}
    return Findings(_answer(metrics), metrics, _checks(e, catchments), tables)


def catchments_table(e: Evidence) -> pd.DataFrame:
    """A row per arm and client: where it lands, by whose word, and its inflation in ms.

    Latency inflation is the median RTT less that to the best PoP. Geographic inflation is what
    light in fibre needs, there and back, for the kilometres to the PoP beyond those to the nearest.
    """
    import pandas as pd

    medians = _medians(e.samples)
    rows = []
    for found in e.observed["catchments"]:
        rtt_ms = medians.get(f"{found['arm']} {found['client']}")
        best_ms = medians.get(f"{BEST} {found['client']}")
        allowed, probed = _allowed(e, found), {x for pops in found["probed"].values() for x in pops}
        rows.append(
            {
                **{name: found[name] for name in ("arm", "client", "city", "pop", "server")},
                "named": found["named"],
                "probed": " ".join(sorted(probed)),
                "allowed": " ".join(allowed),
                "answered": bool(found["pop"]),
                "as_named": found["pop"] == found["named"],
                "as_probed": probed == ({found["pop"]} if found["pop"] else set()),
                "as_oracle": not allowed or found["pop"] in allowed,
                "rtt_ms": rtt_ms,
                "best_rtt_ms": best_ms,
                "latency_inflation_ms": _less(rtt_ms, best_ms),
                "geographic_inflation_ms": _geographic_ms(e.plan, found["city"], found["pop"]),
            }
        )
    table = pd.DataFrame(rows)
    numbers = [name for name in table if str(name).endswith("_ms")]
    return table.astype(dict.fromkeys(numbers, float))


def _medians(samples: pd.DataFrame) -> dict[str, float]:
    """By arm and client, without the first packet of a flow, which pays for its set-up."""
    good = samples[(samples["sequence"] > 0) & (samples["outcome"] == "ok")]
    medians = good.groupby(good["arm"] + " " + good["client"])["rtt_ms"].median()
    return {str(who): float(rtt_ms) for who, rtt_ms in medians.items()}


def _allowed(e: Evidence, found: Mapping[str, Any]) -> tuple[str, ...]:
    """The PoPs that the oracle allows; none where only the controller knows."""
    if found["arm"] not in (*BY_DELAY, STEERED):
        return ()
    city, far, pop = steered(e.plan, e.oracle)
    if found["arm"] == STEERED and found["city"] == city:
        return (far,)
    return e.oracle.nearest_pops(found["client"], pop if found["arm"] == WITHDRAWN else "")


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _geographic_ms(plan: Plan, city: str, pop: str) -> float | None:
    if not pop:
        return None
    network = plan.network
    here = network.city(city)
    km = {x.city: distance_km(here, network.city(x.city)) for x in network.pops}
    return 2 * (km[pop] - min(km.values())) / FIBRE_KM_PER_S * 1000


def loads_table(plan: Plan, catchments: pd.DataFrame) -> pd.DataFrame:
    """A row per arm and PoP: its clients, and their share of those that are answered."""
    import pandas as pd

    from experiments import stats

    rows: list[dict[str, Any]] = []
    for arm, mine in catchments.groupby("arm", sort=False):
        answered = int((mine["pop"] != "").sum())
        for edge in plan.edges:
            clients = int((mine["pop"] == edge.city).sum())
            share = stats.share(clients, answered)
            rows.append({"arm": arm, "pop": edge.city, "clients": clients, "share": share})
    return pd.DataFrame(rows)


def _metrics_of(
    policy: str, catchments: pd.DataFrame, loads: pd.DataFrame
) -> Iterator[tuple[str, Metric]]:
    from experiments import stats

    mine = catchments[catchments["arm"] == policy]
    latency, far = mine["latency_inflation_ms"], mine["geographic_inflation_ms"]
    clients = [int(n) for n in loads[loads["arm"] == policy]["clients"]]
    yield f"{policy}_rtt_p50", Metric(stats.median(mine["rtt_ms"]), "ms")
    yield f"{policy}_rtt_p95", Metric(stats.quantile(mine["rtt_ms"], 0.95), "ms")
    yield f"{policy}_li_p50", Metric(stats.median(latency), "ms")
    yield f"{policy}_li_p95", Metric(stats.quantile(latency, 0.95), "ms")
    known = latency.dropna()
    for over in THRESHOLDS_MS:
        share = stats.share(int((known > max(over, FLOOR_MS)).sum()), len(known))
        yield f"{policy}_li_over_{over}_share", Metric(share, "1")
    yield f"{policy}_gi_p50", Metric(stats.median(far), "ms")
    yield f"{policy}_gi_p95", Metric(stats.quantile(far, 0.95), "ms")
    most = max(clients) * len(clients) / sum(clients) if sum(clients) else None
    yield f"{policy}_load_max_mean", Metric(most, "times")
    yield f"{policy}_load_gini", Metric(stats.gini(clients), "1")


def _checks(e: Evidence, catchments: pd.DataFrame) -> tuple[Check, ...]:
    city, far, pop = steered(e.plan, e.oracle)
    by_hand = catchments[catchments["arm"] == STEERED]
    gone = catchments[catchments["arm"] == WITHDRAWN]
    back = catchments[catchments["arm"] == ANNOUNCED]
    nearest = catchments[catchments["arm"] == Policy.NEAREST.value]
    served = catchments[catchments["named"] != ""]
    return (
        _all("every client that is served is answered", served, "answered"),
        _all("every client lands where the controller says", catchments, "as_named"),
        _all("probes from every PoP find the same catchments", catchments, "as_probed"),
        _all("by policy nearest every client lands in its nearest PoP", nearest, "as_oracle"),
        _inflated(e, by_hand[by_hand["city"] == city], far),
        _all("twin: no other city is moved", by_hand[by_hand["city"] != city], "as_oracle"),
        Check(
            "control: a withdrawn PoP gets nobody",
            len(gone) > 0 and _reached(gone, pop) == 0,
            f"{_reached(gone, pop)} of {len(gone)} clients reach {pop}",
        ),
        _all("twin: its clients go to the next", gone, "as_oracle"),
        Check(
            "twin: a PoP that is announced gets its own",
            _reached(back, pop) > 0 and bool(back["as_oracle"].all()),
            f"{_reached(back, pop)} of {len(back)} clients reach {pop}",
        ),
    )


def _all(name: str, rows: pd.DataFrame, column: str) -> Check:
    """A statement that holds for every row, of which there are some."""
    wrong = rows[~rows[column]]
    first = "" if wrong.empty else "; first: {arm}, {client}".format(**wrong.iloc[0])
    detail = f"{len(rows) - len(wrong)} of {len(rows)}{first}"
    return Check(name, len(rows) > 0 and wrong.empty, detail)


def _reached(rows: pd.DataFrame, pop: str) -> int:
    """Clients of which anything reaches a PoP: what they ask, or their replies to probes."""
    probed = rows["probed"].map(lambda pops: pop in pops.split())
    return int(((rows["pop"] == pop) | probed).sum())


def _inflated(e: Evidence, rows: pd.DataFrame, far: str) -> Check:
    """The inflation of who is sent away on purpose is that of the model: there is nothing to it."""
    name = "control: a city steered to its farthest PoP has exactly that inflation"
    if rows.empty or rows["latency_inflation_ms"].isna().any():
        return Check(name, False, "it was not answered")
    inflation_ms = float(rows["latency_inflation_ms"].min())
    server = e.plan.servers_of(far)[0].name
    models = rows["client"].map(lambda client: e.oracle.rtt_ms(client, server))
    off_ms = rows["rtt_ms"] - models
    bound_ms = float((SHARE * models).clip(lower=FLOOR_MS).min())
    early, late = float(off_ms.min()), float(off_ms.max())
    return Check(
        name,
        inflation_ms > FLOOR_MS and -bound_ms <= early and late <= bound_ms,
        f"{inflation_ms:.3f} ms to {far}; the round trip is off the model by {early:.3f} to"
        f" {late:.3f} ms, the bound is {bound_ms:.3f} ms",
        noise=inflation_ms > FLOOR_MS and -bound_ms <= early and late > bound_ms,
    )


def _answer(metrics: Mapping[str, Metric]) -> str:
    parts = []
    for policy in POLICIES:
        rtt, over = (metrics[f"{policy.value}_{x}"].value for x in ("rtt_p50", "li_over_25_share"))
        if rtt is None or over is None:
            return "Not every policy was answered, so there is nothing to compare."
        parts.append(f"{policy.value} {rtt:.1f} ms ({over:.0%})")
    return (
        "Median round trip to the service by policy, and clients that lose more than 25 ms against "
        f"their best PoP: {', '.join(parts)}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Who goes where by which policy, and how long it takes."""
    from experiments.show.figures import catchment as figure

    policies = [policy.value for policy in POLICIES]
    catchments = findings.tables["catchments"]
    return [
        figure.catchment_matrix(catchments, policies, folder / "catchments.png"),
        figure.policy_cdf(catchments, policies, folder / "policy-cdf.png"),
    ]


STUDY = Study(
    name="catchment",
    question="Where does each policy send whom, and what does it cost?",
    baselines=("the best PoP for each client", "weighted: steering without a map"),
    controls=(
        "a city steered to its farthest PoP by hand must have exactly that inflation",
        "a withdrawn PoP must get nobody; announced again it gets its own",
    ),
    parameters={
        "pings": Parameter(
            20, 6, "requests per client and policy; the first is not counted", least=2
        ),
        "rate_per_s": Parameter(150, 150, "requests per second in the whole network", least=SOME),
        "timeout_s": Parameter(2, 1, "how long to wait for a reply, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=with_a_choice,
    policies=tuple(Policy),
    timed=Timed(("arm", "client"), where=lambda samples: samples["sequence"] > 0, complete=True),
)
