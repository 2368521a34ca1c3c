"""What does anycast do to an attack, and what does the attack do to those who are served?

Beside every client stands an attacker. Attackers send datagrams at random times, whatever becomes
of them, and clients send requests at a steady rate: to one server's own address (unicast), then to
the service (anycast), with all PoPs, and with the PoP withdrawn that is attacked most. Meanwhile
the PoPs' uplinks have a rate, and a short queue before it. At last the attack goes to a borrowed
address of another PoP, before and after that has moved to where most of the attack lands.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Borrowed, Evidence, Findings, Study, Trial
from experiments.verdict import flood
from experiments.verdict.flood import ANYCAST, ARMS, QUIET, UNICAST, UNLIMITED, WITHDRAWN, Arm
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Network
from topologies.plan import HostRole, LinkKind, LinkPlan, Plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.echo import EchoRow
    from topologies.family import Address

QUEUE_PACKETS = 20
"""What may wait for an uplink's rate."""

WARM_S = 1.0
"""Until queues are as they will stay: what is sent meanwhile does not count."""

MOST_LAWFUL = 0.25
"""Of an uplink's rate: what all requests together may need, so that only an attack fills it."""

BOUND = 0.05
"""By so much a share may be off the closed form, which knows no queue, besides by chance."""

SIGMAS = 4.0
"""How many standard deviations chance is allowed."""

NOTHING = 0.01
"""Of an uplink's rate: what it may carry besides."""


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network as it is.

    Raises UsageError if it has one PoP, an uplink that cannot be given a rate or has one, or if
    requests alone could fill an uplink.
    """
    if len(network.pops) < 2:
        raise UsageError(
            f"{network.name} has one PoP, and an attack cannot spread: give it more with --pops."
        )
    requests, rate = params["requests_per_s"], params["rate_mbit_s"]
    assert isinstance(requests, int | float)
    assert isinstance(rate, int | float)
    wrong = [p.city for p in network.pops if p.uplink.rate_bit_s or not p.uplink.delay_ns]
    if wrong:
        raise UsageError(
            f"{network.name}: the study gives uplinks a rate, and takes it away: give that of"
            f" {wrong[0]} a delay and no rate of its own."
        )
    if requests * flood.REQUEST_BITS > MOST_LAWFUL * rate * 1e6:
        raise UsageError(
            f"{requests:g} requests a second need more than {MOST_LAWFUL:.0%} of an uplink of"
            f" {rate:g} Mbit/s: lower requests_per_s, or raise rate_mbit_s."
        )
    return network


# -- what is done in the lab


def trial(t: Trial) -> None:
    """Each arm by itself; afterwards the network is as it was."""
    t.observed["uplinks"] = []
    full = flood.target(t.oracle)
    for arm in ARMS:
        if arm.withdrawn:
            t.lab.control.pop_withdraw(full)
        if arm.moved:
            _move(t, full)
        t.lab.settle()
        landed = _landed(t, arm)
        _limit(t, flood.rate_bit_s(t.spec) if arm.limited else None)
        with t.timed_step(f"{arm.name}: clients ask", WARM_S + t.param("seconds")):
            _ask(t, arm, landed)
        _limit(t, None)
        if arm.withdrawn:
            t.lab.control.pop_announce(full)
        if arm.moved:
            _move(t, flood.victim(t.oracle))


def _move(t: Trial, pop: str) -> None:
    """Have the first server of a PoP hold the set that is attacked."""
    lease = _attacked(t)
    server = t.plan.servers_of(pop)[0].name
    t.lab.control.lease_move(f"{lease.address}:{lease.first_port}", server)


def _attacked(t: Trial) -> Borrowed:
    """What the victim's first server borrowed at first."""
    return t.leases[t.plan.servers_of(flood.victim(t.oracle))[0].name]


def _landed(t: Trial, arm: Arm) -> dict[str, str]:
    """By client: the server that answers its GET /trace."""
    from experiments.measure.http import Request, get

    clients = t.plan.hosts_of(HostRole.CLIENT)
    requests = [Request(client.name, _address(t, arm)) for client in clients]
    with t.step(f"{arm.name}: where clients land"):
        rows = get(requests, timeout_s=t.param("timeout_s"), spacing_s=0.01)
    return {row.host: row.fields["server"] for row in rows if row.outcome == "ok"}


def _address(t: Trial, arm: Arm) -> Address:
    """Whom clients ask."""
    if arm.anycast:
        return t.service
    return t.address(t.plan.servers_of(flood.target(t.oracle))[0])


def uplink(plan: Plan, pop: str) -> tuple[LinkPlan, int]:
    """A PoP's uplink, and which of its directions goes to the PoP (0: from a to b)."""
    edge = plan.edge(pop).name
    link = next(link for link in plan.links_of(edge) if link.kind is LinkKind.UPLINK)
    return link, int(link.a.node == edge)


def _limit(t: Trial, rate_bit_s: int | None) -> None:
    """Have every uplink carry no more than that to its PoP; by None it does what is planned."""
    assert t.lab.emulator is not None
    for pop in t.oracle.pops:
        link, way = uplink(t.plan, pop)
        wanted = t.lab.planned(link)
        if rate_bit_s is not None:
            wanted = replace(wanted, rate_bit_s=rate_bit_s, limit_packets=QUEUE_PACKETS)
        t.lab.emulator.set(link.number, **{("a_to_b", "b_to_a")[way]: wanted})


def _ask(t: Trial, arm: Arm, landed: Mapping[str, str]) -> None:
    """Send requests, and the attack; meanwhile count what uplinks carry and lose."""
    from experiments.measure.barrage import DISCARD_PORT, barrage
    from experiments.measure.udp import EchoProbe, udp_echo

    clients, address = t.plan.hosts_of(HostRole.CLIENT), _address(t, arm)
    lasts_s, interval_s = WARM_S + t.param("seconds"), len(clients) / t.param("requests_per_s")
    shots = flood.attack(t.oracle, t.spec) if arm.attacked else {}
    began_ns = time.monotonic_ns()
    with ThreadPoolExecutor(2, "flood") as sending:
        asked = sending.submit(
            udp_echo,
            [EchoProbe(client.name, address) for client in clients],
            count=math.ceil(lasts_s / interval_s),
            interval_s=interval_s,
            timeout_s=t.param("timeout_s"),
            size=flood.REQUEST,
            seed=t.spec.seed,
        )
        attacked = sending.submit(
            barrage,
            shots,
            IPv4Address(_attacked(t).address) if arm.lent else address,
            port=_attacked(t).first_port if arm.lent else DISCARD_PORT,
            seconds=lasts_s,
            size=flood.PAYLOAD,
            seed=t.spec.seed,
        )
        time.sleep(WARM_S)
        before = _counted(t)
        time.sleep(t.param("seconds"))
        after = _counted(t)
        rows = asked.result()
        attacked.result()
    for pop, count in after.items():
        since = {name: value - before[pop][name] for name, value in count.items()}
        t.observed["uplinks"].append({"arm": arm.name, "pop": pop} | since)
    _emit(t, arm, landed, began_ns, rows)


def _emit(
    t: Trial, arm: Arm, landed: Mapping[str, str], began_ns: int, rows: list[EchoRow]
) -> None:
    for row in rows:
        server = landed.get(row.host)
        idle_ms = server and flood.idle_rtt_ms(t.oracle, t.spec, arm, row.host, server)
        t.reporter.emit(
            {
                "arm": arm.name,
                "client": row.host,
                "city": t.plan.host(row.host).city,
                "pop": server and t.plan.host(server).city,
                "sequence": row.sequence,
                "at_s": (row.sent_ns - began_ns) / 1e9,
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": idle_ms,
            }
        )


def _counted(t: Trial) -> dict[str, dict[str, int]]:
    """By PoP: what has gone over its uplink towards it, and when that was."""
    assert t.lab.emulator is not None
    stats, at_ns = t.lab.emulator.stats(), time.monotonic_ns()
    found = {}
    for pop in t.oracle.pops:
        link, way = uplink(t.plan, pop)
        count = stats[link.number][way]
        drops = sum(count.drops.values())
        found[pop] = {"ns": at_ns, "packets": count.packets, "bytes": count.bytes, "drops": drops}
    return found


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """What is answered, and what the uplinks lose, beside the closed form."""
    table = pops_table(e)
    metrics = {"attack_share": Metric(_strength(e), "times")}
    for arm in ARMS:
        metrics |= _metrics_of(e, arm, table)
    metrics["pushed_over"] = Metric(len(_pushed_over(table)), "1")
    return Findings(_answer(e, metrics), metrics, _checks(e, table), {"pops": table})


def counted(e: Evidence, arm: Arm) -> pd.DataFrame:
    """The requests of an arm that were sent while queues were as they stay."""
    at_s = e.samples["at_s"]
    mine = (at_s >= WARM_S) & (at_s < WARM_S + e.spec.number("seconds"))
    return e.samples[mine & (e.samples["arm"] == arm.name)]


def pops_table(e: Evidence) -> pd.DataFrame:
    """A row per arm and PoP: requests and answers, and the uplink, as counted and modelled.

    ``load_share`` is what is offered to the uplink, of its rate; ``lost_share`` what it loses of
    that, ``answered_share`` what is answered of its clients' requests.
    """
    import pandas as pd

    uplinks = {(row["arm"], row["pop"]): row for row in e.observed["uplinks"]}
    rows = []
    for arm in ARMS:
        sent = counted(e, arm)
        firsts = sent.drop_duplicates("client").dropna(subset="pop")
        homes: dict[str, str] = dict(zip(firsts["client"], firsts["pop"], strict=True))
        for pop, load in flood.loads(e.oracle, e.spec, arm, homes).items():
            mine = sent[sent["pop"] == pop]
            row: dict[str, Any] = {"arm": arm.name, "pop": pop}
            row |= {"clients": sum(home == pop for home in homes.values())}
            row |= _answered(e, mine, pop, load)
            row |= _uplink(e, uplinks[arm.name, pop])
            row |= {"model_packets": (load.requests_s + load.attack_s) * e.spec.number("seconds")}
            rows.append(row | {"model_load_share": load.offered, "model_lost_share": load.lost})
    table = pd.DataFrame(rows)
    numbers = [name for name in table if str(name).endswith(("_share", "_ms"))]
    return table.astype(dict.fromkeys(numbers, float))


def _answered(e: Evidence, sent: pd.DataFrame, pop: str, load: flood.Load) -> dict[str, Any]:
    """Of the requests that were sent to a PoP; the links' own loss is part of the model.

    The model tells nothing of requests that meet packets in step (``Load.paced``).
    """
    from experiments import stats

    server = e.plan.servers_of(pop)[0].name
    survivals = [e.oracle.survival(client, server) for client in sent["client"]]
    answered = int((sent["outcome"] == "ok").sum())
    return {
        "requests": len(sent),
        "answered": answered,
        "answered_share": stats.share(answered, len(sent)),
        "model_answered_share": None
        if load.paced or not survivals
        else (1 - load.lost) * fmean(survivals),
        "rtt_p50_ms": stats.median(sent["rtt_ms"]),
    }


def _uplink(e: Evidence, count: Mapping[str, int]) -> dict[str, Any]:
    """What an uplink was offered and lost: what is lost is as large as what is not."""
    from experiments import stats

    packets, drops = count["packets"], count["drops"]
    bits = 8 * count["bytes"] * (1 + drops / packets) if packets else 0.0
    return {
        "packets": packets + drops,
        "drops": drops,
        "load_share": bits / (count["ns"] / 1e9 * flood.rate_bit_s(e.spec)),
        "lost_share": stats.share(drops, packets + drops) or 0.0,
    }


def _strength(e: Evidence) -> float:
    """The whole attack, in rates of one uplink."""
    shots = flood.attack(e.oracle, e.spec)
    return sum(shots.values()) * flood.FRAME_BITS / flood.rate_bit_s(e.spec)


def _metrics_of(e: Evidence, arm: Arm, table: pd.DataFrame) -> Iterator[tuple[str, Metric]]:
    from experiments import stats

    sent, mine = counted(e, arm), table[table["arm"] == arm.name]
    answered = stats.share(int((sent["outcome"] == "ok").sum()), len(sent))
    yield f"{arm.name}_answered_share", Metric(answered, "1")
    asked = mine[mine["requests"] > 0]
    expected = (asked["model_answered_share"] * asked["requests"]).sum(skipna=False)
    model = float(expected) / max(len(sent), 1)
    yield f"{arm.name}_answered_model", Metric(None if math.isnan(model) else model, "1")
    yield f"{arm.name}_rtt_p50", Metric(stats.median(sent["rtt_ms"]), "ms")
    if arm.attacked:
        carried = int((mine["packets"] - mine["drops"]).sum())
        share = stats.share(carried, int(mine["packets"].sum()))
        yield f"{arm.name}_carried_share", Metric(share, "1")
        yield f"{arm.name}_load_max", Metric(float(mine["load_share"].max()), "times")
        yield f"{arm.name}_full", Metric(int((mine["load_share"] > 1).sum()), "1")


def _pushed_over(table: pd.DataFrame) -> list[str]:
    """The PoPs that are offered more than their rate only since another is withdrawn."""
    full = table[table["load_share"] > 1]
    before, after = (set(full[full["arm"] == arm.name]["pop"]) for arm in (ANYCAST, WITHDRAWN))
    return sorted(after - before)


def _checks(e: Evidence, table: pd.DataFrame) -> tuple[Check, ...]:
    load, lost = table["model_load_share"], table["model_lost_share"]
    packets = table["model_packets"].clip(lower=1)
    asked = table[table["model_answered_share"].notna()]
    answered = asked["model_answered_share"]
    return (
        _landed_right(e),
        _near(
            "every uplink is offered what its catchment sends",
            table["load_share"] - load,
            BOUND * load + SIGMAS * load / packets**0.5 + NOTHING,
        ),
        _near(
            "every uplink loses what is beyond its rate",
            table["lost_share"] - lost,
            BOUND + SIGMAS * _deviation(lost, packets),
        ),
        _near(
            "of the requests to each PoP as many are answered as the closed form says",
            asked["answered_share"] - answered,
            BOUND + SIGMAS * _deviation(answered, asked["requests"]),
        ),
        _nothing_lost(e, QUIET, "control: without an attack nothing is lost"),
        _hurts(table),
        _nothing_lost(e, UNLIMITED, "control: without rates the same attack does nothing"),
    )


def _landed_right(e: Evidence) -> Check:
    """Where the closed form may take clients, and attackers beside them, to go."""
    full = flood.target(e.oracle)
    wrong = total = 0
    for arm in ARMS:
        firsts = e.samples[e.samples["arm"] == arm.name].drop_duplicates("client")
        for client, pop in zip(firsts["client"], firsts["pop"], strict=True):
            nearest = e.oracle.nearest_pops(client, full if arm.withdrawn else "")
            wrong += pop not in (nearest if arm.anycast else (full,))
            total += 1
    name = "every client lands in the nearest PoP that is announced, or at the one site"
    return Check(name, total > 0 and wrong == 0, f"{total - wrong} of {total} times")


def _deviation(share: pd.Series[float], total: pd.Series[float]) -> pd.Series[float]:
    """The standard deviation of a share that comes out by chance, of so many."""
    return (share * (1 - share) / total) ** 0.5


def _near(name: str, off: pd.Series[float], bound: pd.Series[float]) -> Check:
    """Whether all differences are within their bounds, and there are some."""
    known = len(off) > 0 and not bool(off.isna().any())
    worst = float((off.abs() / bound).max()) if known else math.inf
    return Check(name, worst <= 1, f"{len(off)} numbers; the worst is at {worst:.0%} of its bound")


def _nothing_lost(e: Evidence, arm: Arm, name: str) -> Check:
    """Nothing but what the links lose by themselves, of which chance may make more."""
    sent = counted(e, arm)
    servers = {pop: e.plan.servers_of(pop)[0].name for pop in e.oracle.pops}
    survivals = [
        e.oracle.survival(client, servers[pop]) if pop in servers else 1.0
        for client, pop in zip(sent["client"], sent["pop"], strict=True)
    ]
    usual, variance = sum(1 - s for s in survivals), sum(s * (1 - s) for s in survivals)
    lost = int((sent["outcome"] != "ok").sum())
    good = len(sent) > 0 and lost <= usual + SIGMAS * math.sqrt(variance)
    return Check(name, good, f"{lost} of {len(sent)} requests; the links' own loss is {usual:.0f}")


def _hurts(table: pd.DataFrame) -> Check:
    mine = table[(table["arm"] == UNICAST.name) & (table["requests"] > 0)]
    share = 1 - float(mine["answered"].sum()) / max(int(mine["requests"].sum()), 1)
    name = "twin: with it one site loses requests"
    return Check(name, len(mine) > 0 and share > BOUND, f"{share:.0%} of them")


def _answer(e: Evidence, metrics: Mapping[str, Metric]) -> str:
    one, every, fewer = (
        metrics[f"{arm.name}_answered_share"].value for arm in (UNICAST, ANYCAST, WITHDRAWN)
    )
    if one is None or every is None or fewer is None:
        return "Nothing was sent that counts."
    return (
        f"Under an attack of {metrics['attack_share'].value:.2g} times an uplink's rate one site"
        f" answers {one:.0%} of the requests, anycast {every:.0%}; with {flood.target(e.oracle)}"
        f" withdrawn it is {fewer:.0%}. PoPs that this pushes over their rate:"
        f" {metrics['pushed_over'].value}."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """What each uplink is offered, and what is answered, by arm."""
    from experiments.show.figures import flood as figure

    arms = [arm.name for arm in ARMS]
    return [figure.draw(findings.tables["pops"], arms, folder / "flood.png")]


STUDY = Study(
    name="flood",
    question="What does anycast do to an attack, and what does the attack do to those served?",
    baselines=(
        "one site by its own address",
        "anycast with the fullest PoP withdrawn",
        "a borrowed address, at home and moved to the fullest PoP",
    ),
    controls=(
        "without an attack nothing must be lost",
        "without rates of the uplinks the attack must do nothing",
    ),
    parameters={
        "rate_mbit_s": Parameter(4, 2, "what each uplink carries, Mbit/s", least=SOME),
        "strength": Parameter(
            1.5, 1.5, "attack near the attacked PoP, in rates of an uplink", least=SOME
        ),
        "elsewhere": Parameter(0.25, 0.25, "what an attacker elsewhere sends, of one there"),
        "requests_per_s": Parameter(
            100, 100, "requests per second in the whole network", least=SOME
        ),
        "seconds": Parameter(20, 8, "how long each arm is counted, whole seconds", least=1),
        "timeout_s": Parameter(2, 1, "how long to wait for a reply, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    families=(4,),
    timed=Timed(
        ("arm", "client"),
        where=lambda samples: samples["arm"].isin((QUIET.name, UNLIMITED.name)),
        floor_us=1000.0,  # a program answers
    ),
)
