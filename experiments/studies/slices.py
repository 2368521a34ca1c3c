"""How many ports does a server need? What is lost when a port set is too small?

Servers borrow sets of several sizes and offer each a stream of connections to one origin, which
come at random and stay at random. What finds no free port is lost. Beside it stand Erlang's formula
and a model that is fed the very same connections.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import pools
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.result import Check, Metric
from topologies.model import Network
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

HOLD_S = 1.0
"""How long a connection stays, in the mean."""
NO_PORT = "no port"
CHANCE = 0.6
"""How far a share of lost connections may be from Erlang's by chance, over the root of how many
stays it goes on: of 450 simulated runs of 20 to 100 stays none was farther off."""
MODEL_TOLERANCE = 0.01
"""The same of the model that knows every connection: only their order in one moment is chance."""


def trial(t: Trial) -> None:
    """Offer every load to every size at once, then fill a set to the last port."""
    servers = t.plan.hosts_of(HostRole.SERVER)
    points = list(_points(t))
    chosen = [servers[n % len(servers)] for n in range(len(points))]
    with t.step(f"{len(points)} port sets are borrowed"):
        leases = [
            _borrow(t, server, n, bits)
            for n, (server, (bits, _)) in enumerate(zip(chosen, points, strict=True))
        ]
    with t.timed_step("connections come and go", t.param("holds") * HOLD_S):
        _offer(t, chosen, points, leases)
    with t.step("control: one connection more than ports"):
        t.observed["filled"] = _fill(t, chosen[0], leases[0])


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network as it is. Raises UsageError for a size that is not lent."""
    pools.check_sizes(params["ports"])
    return network


def _points(t: Trial) -> Iterator[tuple[int, float]]:
    """PSID bits, and the load offered for each port."""
    for ports in t.spec.numbers("ports"):
        for load in t.spec.numbers("loads"):
            yield pools.psid_bits(ports), load


def _borrow(t: Trial, server: HostPlan, number: int, bits: int) -> dict[str, Any]:
    """One more set for a server; a server's door opens ten times a second."""
    time.sleep(0.1)
    return t.lab.control.server_borrow(server.name, client_id=f"slice-{number}", psid_bits=bits)


def _offer(
    t: Trial,
    servers: Sequence[HostPlan],
    points: Sequence[tuple[int, float]],
    leases: Sequence[dict[str, Any]],
) -> None:
    from experiments.measure.calls import Caller, arrivals, place

    origin, seconds = t.plan.hosts_of(HostRole.ORIGIN)[0], t.param("holds") * HOLD_S
    callers, calls = [], []
    for n, (server, (_, load), lease) in enumerate(zip(servers, points, leases, strict=True)):
        ports = (lease["first_port"], lease["last_port"])
        callers.append(Caller(server.name, IPv4Address(lease["address"]), ports, origin.address))
        per_s = load * (ports[1] - ports[0] + 1) / HOLD_S
        calls += arrivals(n, per_s, HOLD_S, seconds, t.random)
    calls.sort(key=lambda call: call.at_s)
    for row in place(callers, calls):
        n = row.call.caller
        t.reporter.emit(
            {
                "server": servers[n].name,
                "ports": leases[n]["last_port"] - leases[n]["first_port"] + 1,
                "load": points[n][1],
                "at_s": row.call.at_s,
                "hold_s": row.call.hold_s,
                "outcome": row.outcome,
                "connect_ms": None if row.connect_ns is None else row.connect_ns / 1e6,
                "model_rtt_ms": t.oracle.rtt_ms(servers[n].name, origin.name),
            }
        )


def _fill(t: Trial, server: HostPlan, lease: dict[str, Any]) -> dict[str, Any]:
    """As many connections as ports to one destination, one more, and one to another."""
    from experiments.measure.tcp import TcpAttempt, connect

    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    other = t.plan.hosts_of(HostRole.SERVER)[-1]
    ports = (lease["first_port"], lease["last_port"])
    count = ports[1] - ports[0] + 1
    source = IPv4Address(lease["address"])
    attempts = [
        TcpAttempt(server.name, target.address, source=source, ports=ports)
        for target in (*[origin] * (count + 1), other)
    ]
    rows = connect(attempts, hold=True, at_once=1)
    outcomes = [row.outcome for row in rows]
    used = {row.local_port for row in rows[:count]}
    return {
        "ports": count,
        "opened": outcomes[:count].count("ok"),
        "used": len(used - {None}),
        "one_more": outcomes[count],
        "elsewhere": outcomes[count + 1],
    }


# -- the models


def erlang_b(servers: int, load: float) -> float:
    """The share of calls that is lost by ``servers`` lines under ``load`` Erlang (Erlang 1917).

    By the recursion B(0) = 1, B(n) = aB(n-1) / (n + aB(n-1)), which is stable.
    """
    lost = 1.0
    for n in range(1, servers + 1):
        lost = load * lost / (n + load * lost)
    return lost


def lost_calls(lines: int, calls: Iterable[tuple[float, float]]) -> int:
    """How many of these calls, (time, stay) by time, find every line taken."""
    busy: list[float] = []
    lost = 0
    for at, stay in calls:
        while busy and busy[0] <= at:
            heapq.heappop(busy)
        if len(busy) < lines:
            heapq.heappush(busy, at + stay)
        else:
            lost += 1
    return lost


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """By size and load: the share of connections that was lost, and what both models say."""
    table = losses_table(e.samples)
    error = (table["lost_share"] - table["erlang_share"]).abs()
    model = (table["lost_share"] - table["model_share"]).abs()
    metrics = {
        "connections": Metric(len(e.samples), "1"),
        "erlang_error_max": Metric(_most(error), "1"),
        "model_error_max": Metric(_most(model), "1"),
    }
    for row in table.itertuples():
        name = f"lost_{row.ports}_ports_load_{row.load:g}"
        metrics[name] = Metric(float(str(row.lost_share)), "1")
    return Findings(_answer(table), metrics, _checks(e, table), {"losses": table})


def _most(values: pd.Series[float]) -> float | None:
    from experiments import stats

    return stats.quantile(values, 1.0)


def losses_table(samples: pd.DataFrame) -> pd.DataFrame:
    """A row per size and load; the stay holds the handshake, in which a port is taken too."""
    import pandas as pd

    rows = []
    for (size, offered), mine in samples.groupby(["ports", "load"]):
        ports, load = int(str(size)), float(str(offered))
        stays = mine["hold_s"] + mine["model_rtt_ms"] / 1000
        calls = zip(mine["at_s"], stays, strict=True)
        rows.append(
            {
                "ports": ports,
                "load": load,
                "connections": len(mine),
                "lost_share": float((mine["outcome"] == NO_PORT).mean()),
                "erlang_share": erlang_b(ports, load * ports * float(stays.mean()) / HOLD_S),
                "model_share": lost_calls(ports, calls) / len(mine),
            }
        )
    shares = ["lost_share", "erlang_share", "model_share"]
    return pd.DataFrame(rows, columns=["ports", "load", "connections", *shares])


def _checks(e: Evidence, table: pd.DataFrame) -> tuple[Check, ...]:
    filled = e.observed["filled"]
    erlang = (table["lost_share"] - table["erlang_share"]).abs()
    model = (table["lost_share"] - table["model_share"]).abs()
    chance = CHANCE / e.spec.number("holds") ** 0.5
    failed = int((~e.samples["outcome"].isin(["ok", NO_PORT])).sum())
    return (
        Check(
            "every connection is made or finds no port",
            failed == 0,
            f"{failed} of {len(e.samples)} failed otherwise",
        ),
        Check(
            "what is lost is Erlang's share",
            len(table) > 0 and bool((erlang <= chance).all()),
            f"off by {erlang.max():.3f} at the most, {chance:.3f} may be chance",
        ),
        Check(
            "a model that is fed the same connections loses as many",
            len(table) > 0 and bool((model <= MODEL_TOLERANCE).all()),
            f"off by {model.max():.4f} of them at the most, {MODEL_TOLERANCE:g} is allowed",
            noise=True,
        ),
        Check(
            "control: a full set refuses one more to the same destination",
            filled["one_more"] == NO_PORT,
            f"{filled['opened']} on {filled['ports']} ports, then: {filled['one_more']}",
        ),
        Check(
            "twin: every port of the set is of use, and again to another destination",
            filled["opened"] == filled["used"] == filled["ports"] and filled["elsewhere"] == "ok",
            f"{filled['used']} of {filled['ports']} ports; elsewhere: {filled['elsewhere']}",
        ),
    )


def _answer(table: pd.DataFrame) -> str:
    if table.empty:
        return "Nothing was offered, so nothing can be said."
    load = sorted(table["load"])[len(table) // 2]
    rows = table[table["load"] == load].sort_values("ports")
    small, large = rows.iloc[0], rows.iloc[-1]
    return (
        f"At {load:g} Erlang for each port a set of {int(small['ports'])} ports loses"
        f" {small['lost_share']:.1%} of its connections, one of {int(large['ports'])} ports"
        f" {large['lost_share']:.1%}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """What is lost at which load, beside Erlang's curves."""
    from experiments.show.figures import slices as figure

    return [figure.draw(findings.tables["losses"], erlang_b, folder / "slices.png")]


STUDY = Study(
    name="slices",
    question="How large must a port set be, and what is lost when it is too small?",
    baselines=("Erlang's loss formula", "a model that is fed the same connections"),
    controls=("a full set must refuse one connection more; to another destination it does not",),
    parameters={
        "ports": Parameter((16.0, 32.0, 64.0), (16.0, 32.0), "sizes of sets: 16, 32, 64 ..."),
        "loads": Parameter(
            (0.6, 0.9, 1.2), (0.6, 0.9, 1.2), "load offered for each port, Erlang", least=SOME
        ),
        "holds": Parameter(
            100, 20, "how long it goes on, in times that a connection stays", least=1
        ),
    },
    prepare=prepare,
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    families=(4,),
)
