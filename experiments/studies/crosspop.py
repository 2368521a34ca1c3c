"""What does it cost when replies to a borrowed address land in another PoP than its home?

The study decides where they land: it has one PoP after the other announce alone. Every server
fetches from every origin, from an address of its own and from what it has borrowed; then again
with the backbone between PoPs cut. At last the backbone gets a rate, and one server of each PoP
downloads something large.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.control.words import link_name
from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict import crosspop, truth
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Network
from topologies.plan import HostPlan, HostRole

if TYPE_CHECKING:
    import pandas as pd

WHOLE, CUT, LIMITED, FREE = "whole", "cut", "limited", "free"
"""The backbone: as it is, cut; for downloads with a rate, and without."""

OWN, BORROWED, DOWNLOAD = "own", "borrowed", "download"
EVERYWHERE = "everywhere"

STEADY_S = 1.0
"""So long after a cut or its end switches and controller have seen what carriers there are."""

MOST_MS = 0.4
"""By so much a median may be off the closed form, or by ``truth.SHARE`` of the round trip."""

LEAST_SHARE = 0.5
"""Of the backbone's rate: what a download makes of it at least, since TCP has to begin."""

LOST_SHARE = 0.02
"""So many packets may be sent twice, and so much faster may a download seem than the rate."""

DOWNLOAD_S = 60.0
"""When a download is given up."""

TIMED = Timed(
    ("state", "announced", "arm", "pop"), where=lambda s: s["arm"].isin([OWN, BORROWED]), arm="arm"
)


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The network with a backbone. Raises UsageError for one PoP, or for no landing to choose."""
    if len(network.pops) < 2:
        raise UsageError(f"{network.name} has one PoP, where all replies land: use --pops.")
    landings = params["landings"]
    assert isinstance(landings, int | float)
    if landings < 1:
        raise UsageError("Replies have to land somewhere: use landings=1 or more.")
    return crosspop.with_backbone(network)


def announcements(oracle: Oracle, landings: int) -> dict[str, tuple[str, ...]]:
    """By name: who announces. All, then each of the first PoPs alone."""
    return {EVERYWHERE: oracle.pops} | {pop: (pop,) for pop in oracle.pops[:landings]}


# -- what is done in the lab


def trial(t: Trial) -> None:
    """All landings with the backbone whole, then cut; then downloads."""
    t.observed["crossed"], announced = [], set(t.oracle.pops)
    wanted = announcements(t.oracle, t.count("landings"))
    links = [link_name(link) for link in crosspop.backbone(t.plan)]
    for state in (WHOLE, CUT):
        if state == CUT:
            _each(t, links, t.lab.control.link_cut)
        oracle = t.oracle if state == WHOLE else crosspop.without_backbone(t.plan)
        for name, pops in wanted.items():
            announced = t.announce(announced, set(pops))
            _fetch(t, oracle, state, name, pops)
    _each(t, links, t.lab.control.link_restore)
    for state in (FREE, LIMITED):
        if state == LIMITED:
            for link in links:
                t.lab.control.link_set(link, rate=f"{t.param('rate_mbit_s'):g} Mbit/s")
        for name, pops in list(wanted.items())[1:]:
            announced = t.announce(announced, set(pops))
            _download(t, state, name)
    _each(t, links, t.lab.control.link_restore)
    t.announce(announced, set(t.oracle.pops))


def _each(t: Trial, links: Sequence[str], do: Callable[[str], None]) -> None:
    """Do something to each link, and wait until all has followed."""
    for link in links:
        do(link)
    time.sleep(STEADY_S)
    t.lab.wait(t.lab.controller_api.is_ready, "the switches to follow")
    t.lab.settle()


def _fetch(t: Trial, oracle: Oracle, state: str, name: str, pops: Sequence[str]) -> None:
    """Every server connects to every origin by both arms, which take turns."""
    from experiments.measure.tcp import TcpAttempt, connect

    asked, attempts = [], []
    for _ in range(t.count("fetches")):
        for server in t.plan.hosts_of(HostRole.SERVER):
            lease = t.leases[server.name]
            for origin in t.plan.hosts_of(HostRole.ORIGIN):
                own = TcpAttempt(server.name, origin.address, source=server.address)
                source = (IPv4Address(lease.address), lease.ports)
                asked += [(OWN, server, origin), (BORROWED, server, origin)]
                attempts += [own, TcpAttempt(server.name, origin.address, 80, *source)]
    before = _crossed(t)
    with t.timed_step(f"{len(asked)} fetches, backbone {state}, announced: {name}"):
        rows = connect(
            attempts, timeout_s=t.param("timeout_s"), spacing_s=1 / t.param("rate_per_s")
        )
    packets = _crossed(t) - before
    t.observed["crossed"].append({"state": state, "announced": name, "packets": packets})
    for (arm, server, origin), row in zip(asked, rows, strict=True):
        landed = crosspop.landing(oracle, origin.name, pops)
        model_ms = oracle.rtt_ms(server.name, origin.name)
        if arm == BORROWED:
            model_ms = oracle.borrowed_rtt_ms(server.name, origin.name, (landed,))
        rtt_ms = None if row.handshake_rtt_ns is None else row.handshake_rtt_ns / 1e6
        times = {"model_rtt_ms": model_ms, "rtt_ms": rtt_ms}
        _emit(t, state, name, arm, (server, origin), row.outcome, landed, **times)


def _crossed(t: Trial) -> int:
    """The packets that all links of the backbone have carried."""
    assert t.lab.emulator is not None
    stats = t.lab.emulator.stats()
    return sum(way.packets for x in crosspop.backbone(t.plan) for way in stats[x.number])


def _download(t: Trial, state: str, landed: str) -> None:
    """One server of each PoP after the other fetches something large by what it has borrowed."""
    from experiments.measure.http import Request, get

    origin = t.plan.hosts_of(HostRole.ORIGIN)[0]
    with t.step(f"downloads, backbone {state}, replies land in {landed}"):
        for pop in t.oracle.pops:
            server = t.plan.servers_of(pop)[0]
            lease = t.leases[server.name]
            path = f"/bytes/{t.count('kbytes') * 1000}"
            source = IPv4Address(lease.address)
            request = Request(server.name, origin.address, path, source=source, ports=lease.ports)
            (row,) = get([request], timeout_s=DOWNLOAD_S)
            mbit_s = None
            if row.outcome == "ok" and row.total_ns is not None and row.ttfb_ns is not None:
                mbit_s = 8000 * row.body_bytes / (row.total_ns - row.ttfb_ns)
            _emit(t, state, landed, DOWNLOAD, (server, origin), row.outcome, landed, mbit_s=mbit_s)


def _emit(
    t: Trial,
    state: str,
    announced: str,
    arm: str,
    ends: tuple[HostPlan, HostPlan],
    outcome: str,
    landed: str,
    **measured: float | None,
) -> None:
    server, origin = ends
    t.reporter.emit(
        {
            "state": state,
            "announced": announced,
            "arm": arm,
            "server": server.name,
            "pop": server.city,
            "origin": origin.name,
            "landing_pop": landed,
            "outcome": outcome,
            **dict.fromkeys(("rtt_ms", "model_rtt_ms", "mbit_s")),
            **measured,
        }
    )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """What the way home costs, and what the backbone carries, beside the closed form."""
    from experiments import stats

    ways, loads = ways_table(e), downloads_table(e)
    metrics = {"pops": Metric(len(e.oracle.pops), "1")}
    for state in (WHOLE, CUT):
        mine = ways[ways["state"] == state]
        away = mine[mine["landing_pop"] != mine["pop"]]
        for name in ("extra", "model_extra"):
            metrics[f"{state}_{name}_p50"] = Metric(stats.median(away[f"{name}_ms"]), "ms")
            most = away[f"{name}_ms"].max() if len(away) else None
            metrics[f"{state}_{name}_max"] = Metric(stats.known(most), "ms")
        everywhere = mine[mine["announced"] == EVERYWHERE]
        extra = stats.median(everywhere["extra_ms"])
        metrics[f"{state}_everywhere_extra_p50"] = Metric(extra, "ms")
        elsewhere = int((everywhere["landing_pop"] != everywhere["pop"]).sum())
        metrics[f"{state}_elsewhere_share"] = Metric(stats.share(elsewhere, len(everywhere)), "1")
        metrics[f"{state}_backbone_packets"] = Metric(_carried(e, state), "packets")
    for name, packets in zip(("least", "most"), _crossings(e), strict=True):
        metrics[f"{WHOLE}_backbone_packets_{name}"] = Metric(packets, "packets")
    for state in (FREE, LIMITED):
        crossing = loads[(loads["state"] == state) & (loads["crossings"] > 0)]
        metrics[f"{state}_goodput_p50"] = Metric(stats.median(crossing["mbit_s"]), "Mbit/s")
    tables = {"ways": ways, "downloads": loads}
    return Findings(_answer(metrics), metrics, tuple(_checks(e, ways, loads)), tables)


def ways_table(e: Evidence) -> pd.DataFrame:
    """A row per state, announcement, server and origin: both round trips, and the difference, ms.

    ``extra_ms`` is what the way home by another PoP adds, ``model_extra_ms`` what the closed form
    says: d(o, L) + b(L, h) - d(o, h).
    """
    import pandas as pd

    fetched = e.samples[e.samples["arm"].isin([OWN, BORROWED])]
    good = fetched.assign(rtt_ms=fetched["rtt_ms"].where(fetched["outcome"] == "ok"))
    by, rows = ["state", "announced", "landing_pop", "pop", "server", "origin"], []
    for key, mine in good.groupby(by, sort=False):
        own, borrowed = (mine[mine["arm"] == arm] for arm in (OWN, BORROWED))
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        row |= {"own_rtt_ms": own["rtt_ms"].median(), "rtt_ms": borrowed["rtt_ms"].median()}
        row |= {"model_rtt_ms": borrowed["model_rtt_ms"].median()}
        row |= {"extra_ms": row["rtt_ms"] - row["own_rtt_ms"]}
        rows.append(row | {"model_extra_ms": row["model_rtt_ms"] - own["model_rtt_ms"].median()})
    table = pd.DataFrame(rows)
    return table.astype({name: float for name in table if str(name).endswith("_ms")})


def downloads_table(e: Evidence) -> pd.DataFrame:
    """A row per download: what the way home gave, Mbit/s, and how often that crosses at least."""
    columns = ["state", "landing_pop", "pop", "server", "origin", "outcome", "mbit_s"]
    table = e.samples[e.samples["arm"] == DOWNLOAD][columns].reset_index(drop=True)
    ways = zip(table["landing_pop"], table["pop"], strict=True)
    crossings = [crosspop.crossings(e.plan, landed, home)[0] for landed, home in ways]
    return table.assign(crossings=crossings).astype({"mbit_s": float})


def _carried(e: Evidence, state: str) -> int:
    """Packets on all links of the backbone, each by itself."""
    return sum(x["packets"] for x in e.observed["crossed"] if x["state"] == state)


def _crossings(e: Evidence) -> tuple[int, int]:
    """By the model while it is whole: one reply for each connection, over all ways home."""
    mine = e.samples[(e.samples["state"] == WHOLE) & (e.samples["arm"] == BORROWED)]
    ways = Counter(zip(mine["landing_pop"], mine["pop"], strict=True))
    counts = [(count, crosspop.crossings(e.plan, *way)) for way, count in ways.items()]
    least, most = (sum(count * links[n] for count, links in counts) for n in (0, 1))
    return least, most


def _checks(e: Evidence, ways: pd.DataFrame, loads: pd.DataFrame) -> Iterator[Check]:
    fetched = e.samples[e.samples["arm"].isin([OWN, BORROWED])]
    good = int((fetched["outcome"] == "ok").sum())
    yield Check(
        "every fetch is answered, wherever its reply lands and with the backbone cut",
        0 < len(fetched) == good,
        f"{good} of {len(fetched)}",
    )
    yield _longer(ways)
    yield from _ways_home(e)
    packets, (least, most) = _carried(e, WHOLE), _crossings(e)
    yield Check(
        "twin: the backbone carries one packet a reply and link, as the model says",
        0 < least <= packets <= most * (1 + LOST_SHARE),
        f"{packets} packets; {least} to {most} by the model, over ways that are equally short",
    )
    packets = _carried(e, CUT)
    yield Check("control: while it is cut it carries nothing", packets == 0, f"{packets} packets")
    yield from _rates(e, loads)


def _longer(ways: pd.DataFrame) -> Check:
    """What a way home adds is the closed form's.

    What a busy machine adds to the round trip from a server's own address, it takes off the
    difference: only a round trip that is itself too short is no noise.
    """
    bound = (truth.SHARE * ways["model_rtt_ms"]).clip(lower=MOST_MS)
    borrowed = ways["rtt_ms"] - ways["model_rtt_ms"]
    own = ways["own_rtt_ms"] - (ways["model_rtt_ms"] - ways["model_extra_ms"])
    off = borrowed - own
    near = bool((off.abs() <= bound).all())
    return Check(
        "the way home takes as much longer as the closed form says",
        near and len(ways) > 0,
        f"{len(ways)} ways; off by {float(off.abs().max()):.3f} ms at most",
        noise=not near and bool((borrowed >= -bound).all() and (own >= -bound).all()),
    )


def _ways_home(e: Evidence) -> Iterator[Check]:
    """Of what lands elsewhere a model without the way home is wrong, the one with it right."""
    away = (e.samples["arm"] == BORROWED) & (e.samples["landing_pop"] != e.samples["pop"])
    mine = e.samples[away & (e.samples["state"] == WHOLE)]
    straight = [
        e.oracle.rtt_ms(server, origin)
        for server, origin in zip(mine["server"], mine["origin"], strict=True)
    ]
    wrong = truth.times(TIMED, mine.assign(model_rtt_ms=straight), e.plan)[0]
    right = truth.times(TIMED, mine, e.plan)[0]
    timed = bool((mine["outcome"] == "ok").any())
    yield Check(
        "control: times of what lands elsewhere are not those of a straight way back",
        timed and not wrong.passed,
        wrong.detail,
    )
    yield Check(
        "twin: they are those of the way home", right.passed, right.detail, noise=right.noise
    )


def _rates(e: Evidence, loads: pd.DataFrame) -> Iterator[Check]:
    """A rate of the backbone is what downloads over it get, and without it they get more."""
    most = e.spec.number("rate_mbit_s") * crosspop.PAYLOAD_SHARE
    over = loads[loads["crossings"] > 0]
    limited, free = (over[over["state"] == state]["mbit_s"] for state in (LIMITED, FREE))
    within = bool(
        (limited <= most * (1 + LOST_SHARE)).all() and (limited >= LEAST_SHARE * most).all()
    )
    yield Check(
        "twin: downloads over a backbone with a rate get that, and not more",
        within and len(limited) > 0,
        f"{_range(limited)}; the rate leaves {most:.3g} Mbit/s for data",
    )
    yield Check(
        "control: without a rate they get more than that",
        bool((free > most).all()) and len(free) > 0,
        _range(free),
    )


def _range(mbit_s: pd.Series[float]) -> str:
    return f"{len(mbit_s)} downloads, {mbit_s.min():.3g} to {mbit_s.max():.3g} Mbit/s"


def _answer(metrics: Mapping[str, Metric]) -> str:
    names = ("whole_extra_p50", "whole_extra_max", "cut_extra_p50", "whole_elsewhere_share")
    whole, most, cut, share = (metrics[name].value for name in names)
    if whole is None or most is None or cut is None or share is None:
        return "No reply came home from another PoP, so there is nothing to say."
    return (
        f"A reply that lands in another PoP takes {whole:.1f} ms more to come home (median,"
        f" {most:.1f} ms at most), {cut:.1f} ms if the backbone is cut; announced everywhere"
        f" {share:.0%} of replies do."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """What the way home adds, as measured and by the closed form; what downloads get."""
    from experiments.show.figures import crosspop as figure

    tables, rate = findings.tables, e.spec.number("rate_mbit_s")
    path = folder / "crosspop.png"
    return [figure.draw(tables["ways"], tables["downloads"], rate, path)]


STUDY = Study(
    name="crosspop",
    question="What does it cost when replies to a borrowed address land in another PoP?",
    baselines=("own: an address of the server's own, whose replies come straight",),
    controls=(
        "times of what lands elsewhere must not be those of a straight way back",
        "a backbone that is cut must carry nothing",
        "without a rate downloads must get more than it",
    ),
    parameters={
        "landings": Parameter(5, 2, "PoPs where all replies land, one by one: the network's first"),
        "fetches": Parameter(4, 2, "fetches of each server from each origin by each arm", least=1),
        "rate_per_s": Parameter(200, 200, "fetches per second in the whole network", least=SOME),
        "rate_mbit_s": Parameter(
            1, 1, "rate of the backbone's links for downloads, Mbit/s", least=SOME
        ),
        "kbytes": Parameter(300, 100, "size of a download, kB", least=1),
        "timeout_s": Parameter(3, 2, "when a fetch is given up, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    families=(4,),  # what is lent is IPv4
    timed=TIMED,
)
