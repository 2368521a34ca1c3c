"""How much farther than need be does BGP bring clients, and what can announcements do about it?

Routers choose by business and by the number of networks on the way, not by distance (RFC 4271
section 9.1), so a client may pass the nearest PoP by. Every client pings the service, and a server
of every PoP by its own address: the difference to the best is the inflation. Then the PoP with most
clients announces otherwise: it prepends, it is told to its network's customers alone, it is
withdrawn. Where clients land is told four times: by the server that answers, by where replies to
pings from the service address come back, by the speakers' tables, and by the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from controller.core.events import Event, PopSet, PopState, PrependSet, ScopeSet
from controller.core.world import World
from experiments.parameters import SOME, Parameter
from experiments.study import Evidence, Findings, Study, Trial, with_a_choice
from experiments.verdict import landing
from experiments.verdict.oracle import BgpOracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import SHARE, Timed
from topologies.geography import distance_km, fibre_delay_ns
from topologies.model import NOBODY, Line, Link, Network, Policy, Scope, Upstream
from topologies.plan import HostPlan, HostRole, Plan, plan
from topologies.validate import problems

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.echo import EchoProbe

USUAL, PREPENDED, CUSTOMERS, WITHDRAWN = "usual", "prepended", "customers only", "withdrawn"
ARMS = (USUAL, PREPENDED, CUSTOMERS, WITHDRAWN)
UNICAST = "unicast"

FLOOR_MS = 0.5
"""An inflation below that is none: an emulated RTT is no truer."""
OVER_MS = (25, 100)
FAR_MS = 100
"""A round trip beyond that is felt."""


def trial(t: Trial) -> None:
    """Every PoP by its own address, then the service as each arm announces it."""
    clients = t.plan.hosts_of(HostRole.CLIENT)
    victim = t.oracle.busiest()
    t.observed |= {"victim": victim, "landed": []}
    with t.timed_step(f"{len(clients)} clients ping a server of every PoP"):
        _ping_unicast(t, clients)
    for arm in ARMS:
        with t.step(f"{victim} is {arm}"):
            _announce(t, arm, victim)
            t.lab.come_to_rest()
        with t.step(f"{arm}: where clients land"):
            _look(t, arm, clients)
        with t.timed_step(f"{arm}: {len(clients)} clients ping the service"):
            _ping(t, arm, clients)
    with t.step("as it was"):
        t.lab.control.pop_announce(victim)


def _announce(t: Trial, arm: str, victim: str) -> None:
    control, planned = t.lab.control, World(t.plan).planned(victim)
    if arm == PREPENDED:
        control.pop_prepend(victim, planned.prepend + t.count("prepend"))
    if arm == CUSTOMERS:
        control.pop_prepend(victim, planned.prepend)
        control.pop_scope(victim, Scope.CUSTOMERS.value)
    if arm == WITHDRAWN:
        control.pop_scope(victim, planned.scope.value)
        control.pop_withdraw(victim)


def event(made: Plan, arm: str, victim: str, prepend: int) -> Event | None:
    """What an arm changes in the world as it is planned."""
    if arm == PREPENDED:
        return PrependSet(victim, World(made).planned(victim).prepend + prepend)
    if arm == CUSTOMERS:
        return ScopeSet(victim, Scope.CUSTOMERS)
    return PopSet(victim, PopState.WITHDRAWN) if arm == WITHDRAWN else None


def model(made: Plan, arm: str, victim: str, prepend: int) -> tuple[BgpOracle, tuple[str, ...]]:
    """What BGP does in an arm by the policy alone, and the PoPs that announce."""
    change = event(made, arm, victim, prepend)
    world = World(made) if change is None else World(made).after(change)
    pops = tuple(edge.city for edge in made.edges if arm != WITHDRAWN or edge.city != victim)
    return BgpOracle(world), pops


def _look(t: Trial, arm: str, clients: tuple[HostPlan, ...]) -> None:
    """Where everybody lands, by all that can tell."""
    answered, probed = landing.asked(t, clients), landing.probed(t, clients)
    routes = t.lab.speakers.routes(t.plan.network.service_prefixes[0])
    pops = {edge.number: edge.city for edge in t.plan.edges}
    for client in clients:
        known = routes[t.plan.transit(client.city).name]
        t.observed["landed"].append(
            {
                "arm": arm,
                "client": client.name,
                "city": client.city,
                "pop": answered.get(client.name, {}).get("pop", ""),
                "probed": sorted({x for pops in probed[client.name].values() for x in pops}),
                "spoken": next((pops[route.pop] for route in known if route.best), ""),
            }
        )


def _ping_unicast(t: Trial, clients: tuple[HostPlan, ...]) -> None:
    from experiments.measure.echo import EchoProbe

    servers = [t.plan.servers_of(edge.city)[0] for edge in t.plan.edges]
    pairs = [(client, server) for client in clients for server in servers]
    probes = [EchoProbe(client.name, t.address(server)) for client, server in pairs]
    models = [t.oracle.rtt_ms(client.name, server.name) for client, server in pairs]
    _sent(t, UNICAST, probes, [server.city for _, server in pairs], models)


def _ping(t: Trial, arm: str, clients: tuple[HostPlan, ...]) -> None:
    from experiments.measure.echo import EchoProbe

    chosen, pops = model(t.plan, arm, t.observed["victim"], t.count("prepend"))
    probes = [EchoProbe(client.name, t.service) for client in clients]
    models = [chosen.anycast_rtt_ms(client.name, pops) for client in clients]
    landed = [chosen.catchment(client.city, pops) or "" for client in clients]
    _sent(t, arm, probes, landed, models)


def _sent(
    t: Trial,
    arm: str,
    probes: Sequence[EchoProbe],
    pops: Sequence[str],
    models: Sequence[float | None],
) -> None:
    for row in t.ping(probes, count=t.count("pings")):
        t.reporter.emit(
            {
                "arm": arm,
                "client": row.host,
                "pop": pops[row.probe],
                "sequence": row.sequence,
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": models[row.probe],
            }
        )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Medians by client first, so that every client counts once."""
    catchments = catchments_table(e)
    links = links_table(e, catchments)
    metrics = {"clients": Metric(len(e.plan.hosts_of(HostRole.CLIENT)), "1")}
    for arm in ARMS:
        metrics |= _metrics_of(arm, catchments, e.observed["victim"])
    for name, mine in (
        ("peer", links["customer"] == NOBODY),
        ("customer", links["customer"] != NOBODY),
    ):
        gain = float(links[mine]["gain_ms"].max()) if mine.any() else None
        metrics[f"one_more_{name}_gain"] = Metric(gain, "ms")
    tables = {"catchments": catchments, "links": links}
    return Findings(_answer(metrics, links), metrics, _checks(e, catchments), tables)


def catchments_table(e: Evidence) -> pd.DataFrame:
    """A row per arm and client: where it lands by whose word, and its inflation in ms."""
    import pandas as pd

    good = e.samples[(e.samples["sequence"] > 0) & (e.samples["outcome"] == "ok")]
    medians = good.groupby(["arm", "client", "pop"])["rtt_ms"].median()
    best = medians[UNICAST].groupby("client").min() if UNICAST in medians else {}
    by_arm = good[good["arm"] != UNICAST].groupby(["arm", "client"])["rtt_ms"].median()
    victim, prepend = e.observed["victim"], int(e.spec.number("prepend"))
    rows = []
    for arm in ARMS:
        chosen, pops = model(e.plan, arm, victim, prepend)
        for found in (one for one in e.observed["landed"] if one["arm"] == arm):
            expected = chosen.catchment(found["city"], pops) or ""
            rtt_ms, least_ms = by_arm.get((arm, found["client"])), best.get(found["client"])
            said = {found["pop"], found["spoken"], " ".join(found["probed"])}
            rows.append(
                {
                    **{name: found[name] for name in ("arm", "client", "city", "pop", "spoken")},
                    "probed": " ".join(found["probed"]),
                    "allowed": expected,
                    "agreed": said == {expected} and bool(expected),
                    "rtt_ms": rtt_ms,
                    "best_rtt_ms": least_ms,
                    "latency_inflation_ms": None
                    if rtt_ms is None or least_ms is None
                    else rtt_ms - least_ms,
                }
            )
    told = ["arm", "client", "city", "pop", "spoken", "probed", "allowed", "agreed"]
    times = ["rtt_ms", "best_rtt_ms", "latency_inflation_ms"]
    table = pd.DataFrame(rows, columns=[*told, *times])
    return table.astype(dict.fromkeys(times, float) | {"agreed": bool})


def links_table(e: Evidence, catchments: pd.DataFrame) -> pd.DataFrame:
    """What one more link would give, by the model: those who lose most meet their best PoP.

    Its network is a peer, or pays them; ``gain_ms`` is by how much the mean round trip of all
    clients would fall.
    """
    import pandas as pd

    usual = catchments[catchments["arm"] == USUAL].dropna(subset="latency_inflation_ms")
    worst = usual[usual["latency_inflation_ms"] > FLOOR_MS]
    worst = worst.sort_values("latency_inflation_ms", ascending=False)
    before, rows = _mean_rtt_ms(e.plan), []
    for _, row in worst.head(int(e.spec.number("links"))).iterrows():
        near = e.oracle.nearest_pops(row["client"])[0]
        for customer in (NOBODY, near):
            linked = _linked(e.plan.network, row["city"], near, customer)
            after = None if linked is None else _mean_rtt_ms(plan(linked))
            if before is not None and after is not None:
                link = {"city": row["city"], "pop": near, "customer": customer}
                rows.append(link | {"gain_ms": before - after})
    return pd.DataFrame(rows, columns=["city", "pop", "customer", "gain_ms"]).drop_duplicates()


def _mean_rtt_ms(made: Plan) -> float | None:
    usual, pops = model(made, USUAL, "", 0)
    found = [usual.anycast_rtt_ms(x.name, pops) for x in made.hosts_of(HostRole.CLIENT)]
    known = [rtt_ms for rtt_ms in found if rtt_ms is not None]
    return sum(known) / len(known) if len(known) == len(found) else None


def _linked(network: Network, city: str, pop: str, customer: str) -> Network | None:
    """The network with a link between two cities; None if it has one, or none may be there."""
    a, b = network.city(city), network.city(pop)
    delay_ns = fibre_delay_ns(distance_km(a, b), network.path_stretch)
    link = Link(city, pop, Line(delay_ns), customer)
    found = replace(network, links=(*network.links, link))
    return None if a.network == b.network or problems(found) else found


def _metrics_of(arm: str, catchments: pd.DataFrame, victim: str) -> Iterator[tuple[str, Metric]]:
    from experiments import stats

    mine = catchments[catchments["arm"] == arm]
    name, inflation = arm.replace(" ", "_"), mine["latency_inflation_ms"].dropna()
    yield f"{name}_rtt_p50", Metric(stats.median(mine["rtt_ms"]), "ms")
    yield f"{name}_rtt_p95", Metric(stats.quantile(mine["rtt_ms"], 0.95), "ms")
    yield f"{name}_inflation_p50", Metric(stats.median(inflation), "ms")
    yield f"{name}_inflation_max", Metric(stats.quantile(inflation, 1.0), "ms")
    counts = {
        f"rtt_over_{FAR_MS}": (int((mine["rtt_ms"] > FAR_MS).sum()), len(mine)),
        **{f"inflation_over_{x}": (int((inflation > x).sum()), len(inflation)) for x in OVER_MS},
        "victim": (int((mine["pop"] == victim).sum()), len(mine)),
    }
    for what, (count, total) in counts.items():
        yield f"{name}_{what}_share", Metric(stats.share(count, total), "1")


def _checks(e: Evidence, catchments: pd.DataFrame) -> tuple[Check, ...]:
    victim = e.observed["victim"]
    at = {arm: set(_at(catchments, arm, victim)) for arm in ARMS}
    more = sorted(at[PREPENDED] - at[USUAL])
    return (
        _agreed(catchments),
        _not_nearer(catchments),
        Check(
            "control: a PoP that is withdrawn gets nobody",
            not at[WITHDRAWN] and len(catchments) > 0,
            f"{len(at[WITHDRAWN])} clients land in {victim}",
        ),
        Check(
            "twin: as it is announced it gets clients, and no more of them when it prepends",
            bool(at[USUAL]) and not more,
            f"{len(at[USUAL])}, {len(at[PREPENDED])} when it prepends"
            + (f"; {more[0]} is new" if more else ""),
        ),
    )


def _at(catchments: pd.DataFrame, arm: str, pop: str) -> list[str]:
    mine = catchments[catchments["arm"] == arm]
    return list(mine[(mine["pop"] == pop) | (mine["probed"] == pop)]["client"])


def _agreed(catchments: pd.DataFrame) -> Check:
    wrong = catchments[~catchments["agreed"]]
    first = "" if wrong.empty else "; first: {arm}, {client}".format(**wrong.iloc[0])
    return Check(
        "the server that answers, probes from the service, the speakers and the model agree",
        len(catchments) > 0 and wrong.empty,
        f"{len(catchments) - len(wrong)} of {len(catchments)} times{first}",
    )


def _not_nearer(catchments: pd.DataFrame) -> Check:
    """The shared prefix may take another way to a PoP than its own, but none that is not there."""
    known = catchments.dropna(subset="latency_inflation_ms")
    bound_ms = (SHARE * known["best_rtt_ms"]).clip(lower=FLOOR_MS)
    early = known[(known["pop"] == known["allowed"]) & (known["latency_inflation_ms"] < -bound_ms)]
    return Check(
        "everybody is answered, and nobody sooner than the best PoP could",
        len(known) == len(catchments) > 0 and early.empty,
        f"{len(known)} of {len(catchments)} are answered, {len(early)} too soon",
    )


def _answer(metrics: Mapping[str, Metric], links: pd.DataFrame) -> str:
    p50, most = (metrics[f"usual_inflation_{x}"].value for x in ("p50", "max"))
    rtt = metrics["usual_rtt_p50"].value
    if p50 is None or most is None or rtt is None:
        return "Not everybody was answered, so there is nothing to compare."
    told = (
        f"BGP brings half of the clients within {rtt:.1f} ms, half lose no more than {p50:.1f} ms "
        f"against their best PoP, and the worst off {most:.0f} ms."
    )
    if links.empty:
        return told
    best = links.sort_values("gain_ms").iloc[-1]
    how = "a peering" if best["customer"] == NOBODY else "a link that the PoP's network pays"
    if best["gain_ms"] <= 0:
        return f"{told} No link between those who lose most and their best PoP would change that."
    between = f"{best['city']} and {best['pop']}"
    return f"{told} Between {between} {how} would take {best['gain_ms']:.1f} ms off the mean."


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Who lands where by which announcement, and how long that takes."""
    from experiments.show.figures import catchment as figure

    del e
    catchments, arms = findings.tables["catchments"], list(ARMS)
    looks = dict(zip(arms, figure.LOOKS.values(), strict=False))
    return [
        figure.catchment_matrix(catchments, arms, folder / "catchments.png"),
        figure.policy_cdf(catchments, arms, folder / "inflation-cdf.png", looks),
    ]


STUDY = Study(
    name="inflation",
    question="How much farther than need be does BGP bring clients, and what can announcements do?",
    baselines=("the best PoP for each client, by its own address",),
    controls=("a PoP that is withdrawn gets nobody",),
    parameters={
        "pings": Parameter(20, 6, "requests per client and arm; the first is not counted", least=2),
        "rate_per_s": Parameter(150, 150, "requests per second in the whole network", least=SOME),
        "timeout_s": Parameter(2, 1, "how long to wait for a reply, seconds", least=SOME),
        "prepend": Parameter(3, 3, "how often the busiest PoP names us once more"),
        "links": Parameter(5, 2, "those who lose most, for whom the model tries one link more"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
    policies=(Policy.BGP,),
    upstreams=(Upstream.BGP,),
    prepare=with_a_choice,
    timed=Timed(
        ("arm", "client", "pop"), where=lambda samples: samples["sequence"] > 0, complete=True
    ),
)
