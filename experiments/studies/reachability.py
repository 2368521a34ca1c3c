"""Does everything reach what it should, and nothing else?

Every client reaches the service address by ICMP, TCP and HTTP; every server reaches every origin
from its borrowed address and port set. A server that sends from a port outside its set, or from
an address that it never borrowed, must reach nobody; nor may a port set that nobody holds answer.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.parameters import SOME, Parameter
from experiments.study import Borrowed, Evidence, Findings, Study, Trial
from experiments.verdict import controls
from experiments.verdict.result import Check, Metric
from topologies.model import Policy, Upstream
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.http import Request

METHODS = ("icmp", "tcp", "http")
"""How a client tries the service; ``egress`` is a server's GET from its lease."""

SPACING_S = 0.02
"""Between two tries in the whole network, so that they do not queue behind each other."""


def trial(t: Trial) -> None:
    """Try every pair, then what must fail, and read what the switches dropped."""
    clients = t.plan.hosts_of(HostRole.CLIENT)
    servers = t.plan.hosts_of(HostRole.SERVER)
    with t.timed_step(f"{len(clients)} clients reach the service"):
        _ingress(t, clients)
    with t.step(f"{len(servers)} servers reach every origin"):
        _egress(t, servers)
    before = t.counters()
    with t.step("controls that must fail, and their twins", t.param("timeout_s") * 2):
        for one in (*controls.lie(t), *controls.knock(t)):
            _emit(t, one.control, one.source, one.target, one.outcome, None)
    t.observed["dropped"] = t.counters_since(before)


def _ingress(t: Trial, clients: tuple[HostPlan, ...]) -> None:
    from experiments.measure.http import Request, get
    from experiments.measure.ping import EchoProbe, ping
    from experiments.measure.tcp import TcpAttempt, connect

    service, timeout_s = t.service, t.param("timeout_s")
    pings = ping(
        [EchoProbe(client.name, service) for client in clients],
        count=t.count("tries"),
        interval_s=max(0.05, SPACING_S * len(clients)),
        timeout_s=timeout_s,
        seed=t.spec.seed,
    )
    for echo in pings:
        _emit(t, "icmp", echo.host, "service", echo.outcome, echo.rtt_ns)
    tries = [client for client in clients for _ in range(t.count("tries"))]
    attempts = [TcpAttempt(client.name, service) for client in tries]
    for conn in connect(attempts, timeout_s=timeout_s, spacing_s=SPACING_S):
        _emit(t, "tcp", conn.host, "service", conn.outcome, conn.handshake_rtt_ns)
    requests = [Request(client.name, service) for client in tries]
    for row in get(requests, timeout_s=timeout_s, spacing_s=SPACING_S):
        _emit(t, "http", row.host, "service", row.outcome, row.connect_ns, dict(row.fields))


def _egress(t: Trial, servers: tuple[HostPlan, ...]) -> None:
    from experiments.measure.http import get

    origins = t.plan.hosts_of(HostRole.ORIGIN)
    pairs = [(server, origin) for server in servers for origin in origins]
    requests = [_from_lease(t.leases[server.name], origin) for server, origin in pairs]
    rows = get(requests, timeout_s=t.param("timeout_s"), spacing_s=SPACING_S)
    for (server, origin), row in zip(pairs, rows, strict=True):
        fields = dict(row.fields)
        lease = t.leases[server.name]
        seen = fields.get("client") == lease.address
        outcome = row.outcome if row.outcome != "ok" or seen else "wrong source seen"
        _emit(t, "egress", server.name, origin.name, outcome, row.connect_ns, fields)


def _from_lease(lease: Borrowed, origin: HostPlan) -> Request:
    from experiments.measure.http import Request

    return Request(
        lease.server, origin.address, source=IPv4Address(lease.address), ports=lease.ports
    )


def _emit(
    t: Trial,
    method: str,
    source: str,
    target: str,
    outcome: str,
    rtt_ns: int | None,
    fields: dict[str, str] | None = None,
) -> None:
    answered = fields or {}
    t.reporter.emit(
        {
            "method": method,
            "source": source,
            "target": target,
            "outcome": outcome,
            "rtt_ms": None if rtt_ns is None else rtt_ns / 1e6,
            "pop": answered.get("pop"),
            "server": answered.get("server"),
        }
    )


def evaluate(e: Evidence) -> Findings:
    """A pair is ok if by every method at least ``ok_share`` of its tries got through."""
    from experiments import stats

    tries = e.samples[~e.samples["method"].isin(controls.CONTROLS)]
    pairs = pairs_table(tries, e.spec.number("ok_share"))
    ok, total = int(pairs["ok"].sum()), len(pairs)
    good = tries[tries["outcome"] == "ok"]
    metrics = {
        "pairs_ok": Metric(ok, "1"),
        "pairs_total": Metric(total, "1"),
        "tries_lost_share": Metric(float((tries["outcome"] != "ok").mean()), "1"),
    }
    metrics |= {
        f"{method}_rtt_p50": Metric(stats.median(good[good["method"] == method]["rtt_ms"]), "ms")
        for method in (*METHODS, "egress")
    }
    answer = (
        f"{ok} of {total} pairs reach each other: every client the service by ICMP, TCP and HTTP, "
        "every server every origin from its borrowed address."
    )
    return Findings(answer, metrics, _checks(e, pairs), {"pairs": pairs})


def pairs_table(tries: pd.DataFrame, ok_share: float) -> pd.DataFrame:
    """A row per (source, target): whether every method got through, and the median RTT."""
    good = tries.assign(ok=tries["outcome"] == "ok")
    shares = good.groupby(["source", "target", "method"], sort=False)["ok"].mean()
    by_method = (shares >= ok_share).reset_index()
    pairs = by_method.groupby(["source", "target"], sort=False)["ok"].all().reset_index()
    rtt = good.groupby(["source", "target"])["rtt_ms"].median().reset_index()
    answers = good.groupby(["source", "target"])[["pop", "server"]].first().reset_index()
    return pairs.merge(rtt, how="left").merge(answers, how="left")


def _checks(e: Evidence, pairs: pd.DataFrame) -> tuple[Check, ...]:
    lost = pairs[~pairs["ok"]]
    first = "" if lost.empty else f"; first: {lost.iloc[0]['source']} to {lost.iloc[0]['target']}"
    return (
        Check("every pair reaches", lost.empty, f"{len(lost)} of {len(pairs)} do not{first}"),
        *controls.lie_checks(e.observed),
        *controls.knock_checks(e.observed),
        *controls.drop_checks(e.plan, e.observed, e.observed["dropped"]),
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Who reaches whom."""
    from experiments.show.figures import reachability as figure

    return [figure.draw(e.samples, e.plan, folder / "reachability.png")]


STUDY = Study(
    name="reachability",
    question="Does everything reach what it should, and nothing else?",
    baselines=(),
    controls=(
        "a server that uses a port outside its set must reach no origin; its own port set does",
        "a server that uses an address it never borrowed must reach no origin",
        "a port set that nobody holds must be silent; one that somebody holds answers",
    ),
    parameters={
        "tries": Parameter(5, 2, "tries per client and method", least=1),
        "timeout_s": Parameter(3, 2, "when a try is given up, seconds", least=SOME),
        "ok_share": Parameter(
            0.8, 0.8, "part of a pair's tries by each method that must succeed", least=SOME
        ),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    policies=(Policy.NEAREST, Policy.BGP),
    upstreams=tuple(Upstream),
)
