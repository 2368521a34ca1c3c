"""How close does anycast bring the service to each client?

Every client pings the service address (anycast), one server of the single site that is best for
all clients together (one site), and one server of the PoP that is best for that very client
(best, by the oracle). The requests of all arms are interleaved, so that whatever disturbs the
machine disturbs them alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.parameters import SOME, Parameter
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict import controls
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

    from topologies.family import Address

ARMS = ("anycast", "unicast", "best")
"""``unicast`` is the one site for all; ``best`` is each client's own best PoP."""


def trial(t: Trial) -> None:
    """Ask each client where it lands, ping by all three arms, and knock where nobody is."""
    clients = t.plan.hosts_of(HostRole.CLIENT)
    with t.step("where each client lands"):
        t.observed["landed"] = _landed(t, clients)
    targets = [(arm, client, _target(t, arm, client)) for arm in ARMS for client in clients]
    seconds = len(targets) * t.count("pings") / t.param("rate_per_s")
    with t.timed_step(f"{len(clients)} clients ping three ways", seconds):
        _ping(t, targets)
    with t.step("control: a port set that nobody holds", t.param("timeout_s")):
        controls.knock(t)


def _target(t: Trial, arm: str, client: HostPlan) -> tuple[str, Address]:
    """Where an arm's pings go: PoP and address."""
    if arm == "anycast":
        pop = t.observed["landed"].get(client.name, {}).get("pop", "")
        return pop, t.service
    pop = t.oracle.one_site() if arm == "unicast" else t.oracle.nearest_pops(client.name)[0]
    return pop, t.address(t.plan.servers_of(pop)[0])


def _landed(t: Trial, clients: tuple[HostPlan, ...]) -> dict[str, dict[str, str]]:
    """PoP and server that answered each client's GET /trace."""
    from experiments.measure.http import Request, get

    rows = get([Request(client.name, t.service) for client in clients], spacing_s=0.01)
    return {row.host: dict(row.fields) for row in rows if row.outcome == "ok"}


def _ping(t: Trial, targets: list[tuple[str, HostPlan, tuple[str, Address]]]) -> None:
    from experiments.measure.echo import EchoProbe

    probes = [EchoProbe(client.name, address) for _, client, (_, address) in targets]
    for row in t.ping(probes, count=t.count("pings")):
        arm, client, (pop, _) = targets[row.probe]
        t.reporter.emit(
            {
                "arm": arm,
                "client": client.name,
                "city": client.city,
                "pop": pop,
                "sequence": row.sequence,
                "sent_ns": row.sent_ns,
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": _model_rtt_ms(t, arm, client),
                "clock": row.clock,
            }
        )


def _model_rtt_ms(t: Trial, arm: str, client: HostPlan) -> float:
    pop = t.oracle.one_site() if arm == "unicast" else t.oracle.nearest_pops(client.name)[0]
    return t.oracle.rtt_ms(client.name, t.plan.servers_of(pop)[0].name)


def evaluate(e: Evidence) -> Findings:
    """Medians by client first, so that every client counts once."""
    from experiments import stats

    steady = e.samples[e.samples["sequence"] > 0]  # the first packet of a flow pays for its set-up
    arms = {arm: steady[steady["arm"] == arm] for arm in ARMS}
    error = steady["rtt_ms"] - steady["model_rtt_ms"]
    clients = clients_table(e, steady)
    metrics = {
        f"{arm}_rtt_p50": Metric(stats.median_of_medians(frame, "client", "rtt_ms"), "ms")
        for arm, frame in arms.items()
    }
    metrics |= {
        f"{arm}_rtt_p95": Metric(stats.quantile(clients[f"{arm}_rtt_ms"], 0.95), "ms")
        for arm in ARMS
    }
    metrics |= {
        "rtt_error_p50": Metric(stats.median(error), "ms"),
        "rtt_error_p99": Metric(stats.quantile(error, 0.99), "ms"),
        "optimal_share": Metric(float(clients["at_best_pop"].mean()), "1"),
        "inflation_max": Metric(stats.quantile(clients["inflation_ms"], 1.0), "ms"),
        "clients": Metric(len(clients), "1"),
        "lost_share": Metric(float(steady["rtt_ms"].isna().mean()), "1"),
    }
    return Findings(_answer(e, metrics), metrics, _checks(e, clients), {"clients": clients})


def clients_table(e: Evidence, steady: pd.DataFrame) -> pd.DataFrame:
    """A row per client: where it lands, where it should, and its median RTT by every arm."""
    import pandas as pd

    medians = steady.pivot_table(
        index="client", columns="arm", values="rtt_ms", aggfunc="median", dropna=False
    )
    rows: list[dict[str, Any]] = []
    for client in e.plan.hosts_of(HostRole.CLIENT):
        best = e.oracle.nearest_pops(client.name)
        landed = e.observed["landed"].get(client.name, {})
        row: dict[str, Any] = {"client": client.name, "city": client.city}
        row |= {"pop": landed.get("pop"), "server": landed.get("server"), "best_pop": best[0]}
        row["at_best_pop"] = landed.get("pop") in best
        row |= {f"{arm}_rtt_ms": medians[arm].get(client.name) for arm in ARMS}
        rows.append(row)
    table = pd.DataFrame(rows)
    table["inflation_ms"] = table["anycast_rtt_ms"] - table["best_rtt_ms"]
    return table


def _checks(e: Evidence, clients: pd.DataFrame) -> tuple[Check, ...]:
    answered = int(clients["anycast_rtt_ms"].notna().sum())
    best = int(clients["at_best_pop"].sum())
    return (
        Check(
            "every client is answered",
            answered == len(clients),
            f"{answered} of {len(clients)} clients got replies from the service address",
        ),
        Check(
            "every client lands in its best PoP",
            best == len(clients),
            f"{best} of {len(clients)} clients, by GET /trace against shortest paths",
        ),
        *controls.knock_checks(e.observed),
    )


def _answer(e: Evidence, metrics: dict[str, Metric]) -> str:
    anycast, unicast, best = (metrics[f"{arm}_rtt_p50"].value for arm in ARMS)
    if anycast is None or unicast is None or best is None:
        return "Not every arm was answered, so there is nothing to compare."
    return (
        f"Half of the clients are within {anycast:.1f} ms of the service by anycast; one site for "
        f"all ({e.oracle.one_site()}) gives {unicast:.1f} ms, the best PoP for each {best:.1f} ms."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """The distribution of clients' RTTs by arm, and the map of catchments."""
    from experiments.show.figures import catchment as catchment_figure
    from experiments.show.figures import latency as latency_figure

    clients = findings.tables["clients"]
    known = clients.dropna(subset="pop")
    landed = dict(zip(known["client"], known["pop"], strict=True))
    return [
        latency_figure.draw(clients, e.oracle.one_site(), folder / "latency-cdf.png"),
        catchment_figure.catchment_map(e.plan, landed, folder / "catchment-map.png"),
    ]


STUDY = Study(
    name="latency",
    question="How close does anycast bring the service to each client?",
    baselines=("one unicast site for all clients", "the best PoP for each client"),
    controls=("a port set that nobody holds must be silent; one that somebody holds answers",),
    parameters={
        "pings": Parameter(
            40, 11, "requests per client and arm; the first is not counted", least=2
        ),
        "rate_per_s": Parameter(150, 150, "requests per second in the whole network", least=SOME),
        "timeout_s": Parameter(2, 1, "how long to wait for a reply, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    timed=Timed(("arm", "client"), where=lambda samples: samples["sequence"] > 0, complete=True),
)
