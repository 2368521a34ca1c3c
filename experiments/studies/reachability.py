"""Does everything reach what it should, and nothing else?

Every client reaches the service address by ICMP, TCP and HTTP; every server reaches every origin
from its borrowed address and port set. A server that sends from a port outside its set, or from
an address that it never borrowed, must get nothing; nor may a port set that nobody holds answer.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.result import Check, Metric
from experiments.study import Evidence, Findings, Lease, Parameter, Study, Trial
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.http import Request

METHODS = ("icmp", "tcp", "http")
"""How a client tries the service; ``egress`` is a server's GET from its lease."""

SPACING_S = 0.02
"""Between two tries in the whole network, so that they do not queue behind each other."""

CONTROLS = ("foreign port", "foreign address", "unlent reply")


def trial(t: Trial) -> None:
    """Try every pair, then what must fail, and read what the switches dropped."""
    clients = t.plan.hosts_of(HostRole.CLIENT)
    servers = t.plan.hosts_of(HostRole.SERVER)
    with t.timed_step(f"{len(clients)} clients reach the service"):
        _ingress(t, clients)
    with t.step(f"{len(servers)} servers reach every origin"):
        _egress(t, servers)
    before = t.counters()
    with t.step("controls that must fail", t.param("timeout_s") * 2):
        _controls(t, servers, clients)
    t.observed["dropped"] = t.counters_since(before)


def _ingress(t: Trial, clients: tuple[HostPlan, ...]) -> None:
    from experiments.measure.http import Request, get
    from experiments.measure.ping import EchoProbe, ping
    from experiments.measure.tcp import TcpAttempt, connect

    service, timeout_s = t.plan.network.services[0], t.param("timeout_s")
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


def _from_lease(lease: Lease, origin: HostPlan) -> Request:
    from experiments.measure.http import Request

    return Request(
        lease.server, origin.address, source=IPv4Address(lease.address), ports=lease.ports
    )


def _controls(t: Trial, servers: tuple[HostPlan, ...], clients: tuple[HostPlan, ...]) -> None:
    """Each server lies once about its port and once about its address; clients knock in vain."""
    import contextlib

    from experiments.measure.claim import claim
    from experiments.measure.tcp import TcpAttempt, connect

    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    attempts: list[tuple[str, str, TcpAttempt]] = []
    with contextlib.ExitStack() as claims:
        for server in servers:
            lease, foreign = t.leases[server.name], _never_borrowed(t, server.name)
            claims.enter_context(claim(server.name, foreign))
            source, port = IPv4Address(lease.address), _foreign_port(lease)
            lies = TcpAttempt(server.name, origin.address, source=source, ports=(port, port))
            attempts.append(("foreign port", origin.name, lies))
            lies = TcpAttempt(server.name, origin.address, source=foreign, ports=lease.ports)
            attempts.append(("foreign address", origin.name, lies))
        for client in clients:
            lease = t.random.choice(list(t.leases.values()))
            # Port set 0 of every address holds the well-known ports and is never lent.
            knock = TcpAttempt(client.name, IPv4Address(lease.address), port=80)
            attempts.append(("unlent reply", lease.address, knock))
        rows = connect(
            [attempt for _, _, attempt in attempts],
            timeout_s=t.param("timeout_s"),
            spacing_s=0.005,
        )
    for (control, target, _), row in zip(attempts, rows, strict=True):
        _emit(t, control, row.host, target, row.outcome, row.handshake_rtt_ns)


def _foreign_port(lease: Lease) -> int:
    """A port of the next set: the same address, but somebody else's or nobody's."""
    size = lease.last_port - lease.first_port + 1
    after = lease.last_port + 1
    return after if after + size <= 65536 else lease.first_port - 1


def _never_borrowed(t: Trial, server: str) -> IPv4Address:
    """Another PoP's lent address, or else an address of the pool that nobody holds."""
    lent = {lease.address for lease in t.leases.values()}
    others = sorted(lent - {t.leases[server].address})
    if others:
        return IPv4Address(t.random.choice(others))
    return t.unlent_address()


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
    """A client's pair is ok if every method got through at least once; a server's likewise."""
    from experiments import stats

    tries = e.samples[~e.samples["method"].isin(CONTROLS)]
    pairs = pairs_table(tries)
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


def pairs_table(tries: pd.DataFrame) -> pd.DataFrame:
    """A row per (source, target): whether each method got through, and the median RTT."""
    good = tries.assign(ok=tries["outcome"] == "ok")
    by_method = good.groupby(["source", "target", "method"], sort=False)["ok"].any().reset_index()
    pairs = by_method.groupby(["source", "target"], sort=False)["ok"].all().reset_index()
    rtt = good.groupby(["source", "target"])["rtt_ms"].median().reset_index()
    answers = good.groupby(["source", "target"])[["pop", "server"]].first().reset_index()
    return pairs.merge(rtt, how="left").merge(answers, how="left")


def _checks(e: Evidence, pairs: pd.DataFrame) -> tuple[Check, ...]:
    lost = pairs[~pairs["ok"]]
    first = "" if lost.empty else f"; first: {lost.iloc[0]['source']} to {lost.iloc[0]['target']}"
    dropped = e.observed["dropped"]
    controls = e.samples[e.samples["method"].isin(CONTROLS)]
    return (
        Check("every pair reaches", lost.empty, f"{len(lost)} of {len(pairs)} do not{first}"),
        _control(controls, "foreign port", "a server that uses a port outside its set"),
        _control(controls, "foreign address", "a server that uses an address it never borrowed"),
        _control(controls, "unlent reply", "a port set that nobody holds"),
        _counted("spoofed packets are counted", dropped.get("spoof", 0), "source guard"),
        _counted("unlent packets are counted", dropped.get("unlent", 0), "return path"),
    )


def _control(controls: pd.DataFrame, name: str, who: str) -> Check:
    tries = controls[controls["method"] == name]
    # "no address" would mean that the host's own kernel refused, and our guard was never asked.
    silent = int((tries["outcome"] == "timeout").sum())
    return Check(
        f"control: {who} gets nothing",
        len(tries) > 0 and silent == len(tries),
        f"{silent} of {len(tries)} tries met silence"
        + "".join(f"; {n} {outcome}" for outcome, n in _others(tries).items()),
    )


def _others(tries: pd.DataFrame) -> dict[str, int]:
    counts = tries[tries["outcome"] != "timeout"]["outcome"].value_counts()
    return {str(outcome): int(count) for outcome, count in counts.items()}


def _counted(name: str, packets: int, where: str) -> Check:
    return Check(name, packets > 0, f"{packets} packets dropped by the {where} during the controls")


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Who reaches whom."""
    from experiments import figures

    return [figures.reach_matrix(e.samples, e.plan, folder / "reachability.png")]


STUDY = Study(
    name="reachability",
    question="Does everything reach what it should, and nothing else?",
    baselines=(),
    controls=(
        "a server that uses a port outside its set must get nothing",
        "a server that uses an address it never borrowed must get nothing",
        "a port set that nobody holds must not answer",
    ),
    parameters={
        "tries": Parameter(5, 2, "tries per client and method"),
        "timeout_s": Parameter(3, 2, "when a try is given up, seconds"),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
)
