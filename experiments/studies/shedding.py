"""Does a PoP that has too much to do shed load without oscillating, and what does that cost?

Clients send requests at steady rates, whether they are answered or not, and in one region the rate
rises and falls in steps: quiet, just below the mark, a rush beyond the PoP's capacity, quiet again.
The servers tell which PoP each request came to. Once by policy capacity, once by policy nearest,
which sheds nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from controller.core.shedding import HIGH, LOW, ROOM
from experiments.errors import UsageError
from experiments.parameters import SOME, Parameter, Value
from experiments.study import Evidence, Findings, Study, Trial
from experiments.verdict.oracle import Oracle
from experiments.verdict.result import Check, Metric
from experiments.verdict.truth import Timed
from topologies.model import Network, Policy
from topologies.plan import HostRole, Plan, plan

if TYPE_CHECKING:
    import pandas as pd

    from experiments.measure.echo import EchoRow

OURS, BASELINE = Policy.CAPACITY.value, Policy.NEAREST.value
ARMS = (OURS, BASELINE)


@dataclass(frozen=True, slots=True)
class Step:
    """For a while clients of the region ask at so many times the unit rate, ``lasts`` tells how
    long: the parameter of that name.
    """

    name: str
    units: int
    lasts: str


QUIET_UNITS, CAPACITY_UNITS = 2, 4
"""What each client sends in quiet times, and what its PoP takes for each client of the region."""

QUIET, BRINK, RUSH, AFTER = "quiet", "brink", "rush", "after"
STEPS = (
    Step(QUIET, QUIET_UNITS, "calm_s"),
    Step(BRINK, 3, "calm_s"),  # between the marks
    Step(RUSH, 6, "rush_s"),
    Step(AFTER, QUIET_UNITS, "rush_s"),
)

RELIEF_S = 12
"""A PoP is to be below its capacity so soon: three or four looks of two seconds, as each new one
counts half, and one for the switch, whose counters are a second late."""

OVER_SHARE = 0.9
"""Of the rush's seconds, in which a PoP that sheds nothing is over its capacity."""

FLAP_MOVES = 3
"""A city goes and comes back; one that moves so often flaps."""

TOLD_SHARE = 0.15
"""By so much the controller's count at the end of a step may be off what servers saw."""

LOOK_S, SETTLED_S = 1.0, 4.0


def prepare(network: Network, params: Mapping[str, Value]) -> Network:
    """The PoP with most clients gets a capacity that a rush exceeds, the others room for all of it.

    Raises UsageError if there is no other PoP.
    """
    if len(network.pops) < 2:
        raise UsageError(f"{network.name} has one PoP: nobody could take what it sheds.")
    unit = params["unit_per_s"]
    assert isinstance(unit, int | float)
    near = Oracle(plan(network)).clients_by_pop()
    full, clients = near.most_common(1)[0]
    rush = max(step.units for step in STEPS) * clients
    units = {
        pop.city: CAPACITY_UNITS * clients
        if pop.city == full
        else (QUIET_UNITS * near[pop.city] + rush) / ROOM
        for pop in network.pops
    }
    pops = (replace(p, capacity_packets_s=round(unit * units[p.city])) for p in network.pops)
    return replace(network, pops=tuple(pops))


def region(made: Plan, oracle: Oracle) -> tuple[str, frozenset[str]]:
    """The PoP that has most clients, and those clients: there the rush is."""
    full = oracle.clients_by_pop().most_common(1)[0][0]
    clients = (client.name for client in made.hosts_of(HostRole.CLIENT))
    return full, frozenset(c for c in clients if oracle.nearest_pops(c)[0] == full)


def capacities(made: Plan) -> dict[str, int]:
    """By PoP, in packets a second of service traffic."""
    limits = {pop.city: pop.capacity_packets_s for pop in made.network.pops}
    return {pop: limit for pop, limit in limits.items() if limit is not None}


def trial(t: Trial) -> None:
    """The same demand by either policy."""
    t.observed["told"], t.observed["shed"] = [], []
    for arm in ARMS:
        t.lab.control.policy_set(arm)
        t.lab.settle()
        began_ns = time.monotonic_ns()
        for step in STEPS:
            with t.timed_step(f"{step.name}, by policy {arm}", t.param(step.lasts)):
                _demand(t, arm, step, began_ns)
        t.observed["shed"] += [
            {"arm": arm, "city": event["city"]}
            for event in t.lab.controller_api.events()
            if event["event"] == "ShedSet" and event["shed"] and event["monotonic_ns"] >= began_ns
        ]


def _demand(t: Trial, arm: str, step: Step, began_ns: int) -> None:
    """Send what a step asks for; meanwhile look what servers see, and what the controller says.

    A client that sends n times the unit rate is n probes of its.
    """
    from experiments.measure.echo import EchoProbe
    from experiments.measure.udp import udp_echo
    from experiments.measure.witness import Marked

    _, busy = region(t.plan, t.oracle)
    probes = [
        EchoProbe(client.name, t.service)
        for client in t.plan.hosts_of(HostRole.CLIENT)
        for _ in range(step.units if client.name in busy else QUIET_UNITS)
    ]
    token = t.random.randbytes(8)
    seen: dict[tuple[int, int], str] = {}
    servers = [server.name for server in t.plan.hosts_of(HostRole.SERVER)]
    with Marked(servers, token) as watch, ThreadPoolExecutor(1, "demand") as sending:
        sent = sending.submit(
            udp_echo,
            probes,
            count=round(t.param(step.lasts) * t.param("unit_per_s")),
            interval_s=1 / t.param("unit_per_s"),
            timeout_s=t.param("timeout_s"),
            seed=t.spec.seed,
            token=token,
        )
        while wait([sent], LOOK_S).not_done:
            seen |= {(stamp.probe, stamp.sequence): host for host, stamp in watch.stamped()}
            _look(t, arm, step, began_ns)
        seen |= {(stamp.probe, stamp.sequence): host for host, stamp in watch.stamped()}
        _emit(t, {"arm": arm, "step": step.name}, sent.result(), seen, began_ns)


def _look(t: Trial, arm: str, step: Step, began_ns: int) -> None:
    """What the controller takes the PoPs' loads to be."""
    loads = t.lab.controller_api.world()["loads"]
    at_s = (time.monotonic_ns() - began_ns) / 1e9
    t.observed["told"].append({"arm": arm, "step": step.name, "at_s": at_s, "loads": loads})


def _emit(
    t: Trial,
    case: Mapping[str, str],
    rows: list[EchoRow],
    seen: Mapping[tuple[int, int], str],
    began_ns: int,
) -> None:
    for row in rows:
        server = seen.get((row.probe, row.sequence))
        t.reporter.emit(
            {
                **case,
                "client": row.host,
                "city": t.plan.host(row.host).city,
                "at_s": (row.sent_ns - began_ns) / 1e9,
                "pop": server and t.plan.host(server).city,
                "server": server,
                "outcome": row.outcome,
                "rtt_ms": None if row.rtt_ns is None else row.rtt_ns / 1e6,
                "model_rtt_ms": server and t.oracle.rtt_ms(row.host, server),
            }
        )


# -- what the evidence says


def evaluate(e: Evidence) -> Findings:
    """Loads by the second, and moves by city."""
    loads, cities = loads_table(e), cities_table(e)
    pops = pops_table(e, loads)
    metrics: dict[str, Metric] = {}
    for arm in ARMS:
        metrics |= _metrics_of(arm, e, loads, cities)
    tables = {"loads": loads, "cities": cities, "pops": pops}
    return Findings(_answer(e, metrics), metrics, _checks(e, loads, cities), tables)


def loads_table(e: Evidence) -> pd.DataFrame:
    """A row per arm, second and PoP: requests that its servers saw of those sent in that second.

    ``share`` is of the PoP's capacity, as is ``told_share``, what the controller said then.
    """
    import pandas as pd

    limits = capacities(e.plan)
    sent = e.samples
    came = Counter(zip(sent["arm"], sent["at_s"].astype(int), sent["pop"], strict=True))
    told = {
        (look["arm"], int(look["at_s"]), pop): load
        for look in e.observed["told"]
        for pop, load in look["loads"].items()
    }
    rows = []
    for arm, mine in sent.groupby("arm", sort=False):
        for second in range(int(mine["at_s"].max())):  # the last one is not a whole one
            for pop, limit in limits.items():
                requests, load = came[arm, second, pop], told.get((arm, second, pop))
                row = {"arm": arm, "second": second, "pop": pop, "requests": requests}
                row |= {"share": requests / limit, "capacity": limit}
                rows.append(row | {"told_share": None if load is None else load / limit})
    return pd.DataFrame(rows).astype({"told_share": float})


def cities_table(e: Evidence) -> pd.DataFrame:
    """A row per arm and city: how often its requests went to another PoP than those before.

    ``extra_rtt_ms`` is the median round trip of those away from the nearest PoP, less that of the
    others: None if it did not move.
    """
    import pandas as pd

    samples = e.samples.sort_values("at_s", kind="stable").dropna(subset="pop")
    rows = []
    for (arm, city), mine in samples.groupby(["arm", "city"]):
        moves = max(int((x != x.shift()).sum()) - 1 for _, x in mine.groupby("client")["pop"])
        home = mine["client"].map(lambda client: e.oracle.nearest_pops(client)[0])
        away = mine["pop"] != home
        extra = mine["rtt_ms"][away].median() - mine["rtt_ms"][~away].median()
        row = {"arm": arm, "city": city, "moves": moves, "extra_rtt_ms": extra}
        rows.append(row | {"away": " ".join(sorted(set(mine["pop"][away])))})
    columns = ["arm", "city", "moves", "extra_rtt_ms", "away"]
    return pd.DataFrame(rows, columns=columns).astype({"extra_rtt_ms": float})


def pops_table(e: Evidence, loads: pd.DataFrame) -> pd.DataFrame:
    """A row per arm and PoP: its capacity, its highest load, and for how long it was over."""
    import pandas as pd

    rows = []
    for (arm, pop), mine in loads.groupby(["arm", "pop"], sort=False):
        row = {"arm": arm, "pop": pop, "capacity": capacities(e.plan)[str(pop)]}
        row |= {"peak_share": float(mine["share"].max())}
        rows.append(row | {"over_s": int((mine["share"] > 1).sum())})
    return pd.DataFrame(rows)


def _metrics_of(
    arm: str, e: Evidence, loads: pd.DataFrame, cities: pd.DataFrame
) -> dict[str, Metric]:
    from experiments import stats

    full, _ = region(e.plan, e.oracle)
    load = loads[loads["arm"] == arm]
    over = load[load["share"] > 1]["pop"] == full
    mine = cities[cities["arm"] == arm]
    sent = e.samples[e.samples["arm"] == arm]
    lost = int((sent["outcome"] != "ok").sum())
    return {
        f"{arm}_over": Metric(int(over.sum()), "s"),
        f"{arm}_over_elsewhere": Metric(int((~over).sum()), "s"),
        f"{arm}_relief": Metric(_relief_s(e, load, full), "s"),
        f"{arm}_peak_share": Metric(float(load["share"].max()), "1"),
        f"{arm}_cities_moved": Metric(int((mine["moves"] > 0).sum()), "1"),
        f"{arm}_moves": Metric(int(mine["moves"].sum()), "1"),
        f"{arm}_flaps": Metric(int((mine["moves"] >= FLAP_MOVES).sum()), "1"),
        f"{arm}_extra_rtt_p50": Metric(stats.median(mine["extra_rtt_ms"]), "ms"),
        f"{arm}_lost": Metric(lost, "1"),
        f"{arm}_lost_share": Metric(stats.share(lost, len(sent)), "1"),
    }


def _relief_s(e: Evidence, load: pd.DataFrame, full: str) -> float | None:
    """From the begin of the rush until the PoP was over its capacity for the last time.

    None if it was not relieved while the rush lasted.
    """
    began_s, ended_s = _rush(e, str(load["arm"].iloc[0]))
    over = load[(load["pop"] == full) & (load["share"] > 1)]["second"]
    last_s = float(over.max()) + 1 if len(over) else began_s
    return max(0.0, last_s - began_s) if last_s < int(ended_s) else None


def _rush(e: Evidence, arm: str) -> tuple[float, float]:
    """When the first and the last request of the rush were sent."""
    at_s = e.samples[(e.samples["arm"] == arm) & (e.samples["step"] == RUSH)]["at_s"]
    return float(at_s.min()), float(at_s.max())


def _checks(e: Evidence, loads: pd.DataFrame, cities: pd.DataFrame) -> tuple[Check, ...]:
    ours = e.samples[e.samples["arm"] == OURS]
    return (
        _seen(e.samples),
        _stays_full(e, loads),
        _relieved(e, loads),
        _at_home(e, "twin: a demand below the mark moves nobody", ours, (QUIET, BRINK)),
        _back(e, ours),
        _calm(cities),
        _nobody_else(loads),
        _as_shed(e, cities),
        _as_told(e, ours),
        _lost(ours),
    )


def _seen(samples: pd.DataFrame) -> Check:
    """The foundation of all loads."""
    answered = samples[samples["outcome"] == "ok"]
    unseen = int(answered["pop"].isna().sum())
    return Check(
        "a server saw every request that was answered",
        len(answered) > 0 and unseen == 0,
        f"{unseen} of {len(answered)} were not seen",
    )


def _stays_full(e: Evidence, loads: pd.DataFrame) -> Check:
    from experiments import stats

    full, _ = region(e.plan, e.oracle)
    began_s, ended_s = _rush(e, BASELINE)
    mine = loads[(loads["arm"] == BASELINE) & (loads["pop"] == full)]
    rush = mine[(mine["second"] >= began_s) & (mine["second"] + 1 <= ended_s)]
    share = stats.share(int((rush["share"] > 1).sum()), len(rush))
    return Check(
        "control: by policy nearest the PoP stays over its capacity during the rush",
        share is not None and share >= OVER_SHARE,
        f"{full} in {share or 0:.0%} of {len(rush)} seconds",
    )


def _relieved(e: Evidence, loads: pd.DataFrame) -> Check:
    full, _ = region(e.plan, e.oracle)
    load = loads[loads["arm"] == OURS]
    over_s, relief_s = int((load["share"] > 1).sum()), _relief_s(e, load, full)
    told = "never" if relief_s is None else f"after {relief_s:.1f} s"
    return Check(
        f"twin: by policy capacity it is below within {RELIEF_S} s, and stays there",
        over_s > 0 and relief_s is not None and relief_s <= RELIEF_S,
        f"{full} {told}; it was over it for {over_s} s",
    )


def _at_home(e: Evidence, name: str, ours: pd.DataFrame, steps: tuple[str, ...]) -> Check:
    """Whether all requests of some steps came to a nearest PoP of their client."""
    mine = ours[ours["step"].isin(steps)]
    homes = {client: e.oracle.nearest_pops(client) for client in set(mine["client"])}
    pairs = zip(mine["client"], mine["pop"], strict=True)
    away = sum(pop not in homes[client] for client, pop in pairs)
    return Check(
        name, len(mine) > 0 and away == 0, f"{away} of {len(mine)} requests went elsewhere"
    )


def _back(e: Evidence, ours: pd.DataFrame) -> Check:
    after = ours[ours["step"] == AFTER]
    end = after[after["at_s"] > after["at_s"].max() - 1]
    return _at_home(e, "when it is quiet again all are back", end, (AFTER,))


def _calm(cities: pd.DataFrame) -> Check:
    mine = cities[cities["arm"] == OURS]
    most = int(mine["moves"].max()) if len(mine) else 0
    return Check(
        "no city flaps",
        0 < most < FLAP_MOVES,
        f"{int((mine['moves'] > 0).sum())} cities moved, none more than {most} times",
    )


def _nobody_else(loads: pd.DataFrame) -> Check:
    """Neither by what is shed, nor by the rush itself, which is in one region alone."""
    rush = loads[loads["share"] > 1]
    pops = sorted(set(rush["pop"]))
    return Check(
        "nobody else is pushed over the edge",
        len(pops) == 1,
        f"over their capacity: {', '.join(pops) or 'nobody'}",
    )


def _as_shed(e: Evidence, cities: pd.DataFrame) -> Check:
    shed = {(one["arm"], one["city"]) for one in e.observed["shed"]}
    moved = cities[cities["moves"] > 0]
    seen = set(zip(moved["arm"], moved["city"], strict=True))
    return Check(
        "who moves is who was shed, by either policy",
        shed == seen,
        f"{len(shed)} were shed, {len(seen)} moved, {len(shed & seen)} are the same",
    )


def _as_told(e: Evidence, ours: pd.DataFrame) -> Check:
    """At the end of each step the controller, which counts at cities, must agree with servers."""
    worst = 0.0
    ends = dict(ours.groupby("step")["at_s"].max())
    told = {look["step"]: look["loads"] for look in e.observed["told"] if look["arm"] == OURS}
    for step, loads in told.items():
        end = ours[(ours["step"] == step) & (ours["at_s"] > ends[step] - SETTLED_S)]
        for pop, load in loads.items():
            seen = int((end["pop"] == pop).sum()) / SETTLED_S
            worst = max(worst, abs(load - seen) / capacities(e.plan)[pop])
    return Check(
        "the controller counts what servers see",
        len(told) == len(STEPS) and worst <= TOLD_SHARE,
        f"at the end of {len(told)} steps it is off by {worst:.1%} of a capacity at most",
    )


def _lost(ours: pd.DataFrame) -> Check:
    lost = int((ours["outcome"] != "ok").sum())
    name = "by policy capacity no request is lost"
    return Check(name, len(ours) > 0 and lost == 0, f"{lost} of {len(ours)}")


def _answer(e: Evidence, metrics: Mapping[str, Metric]) -> str:
    full, _ = region(e.plan, e.oracle)
    relief, extra = (metrics[f"{OURS}_{x}"].value for x in ("relief", "extra_rtt_p50"))
    if relief is None or extra is None:
        return f"{full} was not relieved."
    moves, cities = (metrics[f"{OURS}_{x}"].value for x in ("moves", "cities_moved"))
    return (
        f"{full} is below its capacity {relief:.1f} s after a rush began; cities that moved:"
        f" {cities}, in {moves} moves, for {extra:.1f} ms more of round trip (median)."
        f" By policy nearest it was over its capacity for {metrics[f'{BASELINE}_over'].value} s."
    )


def draw(e: Evidence, findings: Findings, folder: Path) -> list[Path]:
    """Load over time by either policy, with capacity and marks."""
    from experiments.show.figures import shedding as figure

    full, _ = region(e.plan, e.oracle)
    loads, path = findings.tables["loads"], folder / "shedding.png"
    return [figure.draw(loads, ARMS, full, (HIGH, LOW), path)]


STUDY = Study(
    name="shedding",
    question="Does a PoP that has too much to do shed load without oscillating, at what cost?",
    baselines=("policy nearest, which sheds nothing",),
    controls=(
        "by policy nearest the PoP must stay over its capacity during the rush",
        "a demand below the mark must move nobody",
    ),
    parameters={
        "unit_per_s": Parameter(
            10, 5, "unit of demand, requests per second of one client", least=SOME
        ),
        "calm_s": Parameter(15, 6, "each step before the rush, whole seconds", least=1),
        "rush_s": Parameter(30, 14, "the rush, and the quiet after it, whole seconds", least=1),
        "timeout_s": Parameter(1, 1, "how long to wait for a reply, seconds", least=SOME),
    },
    trial=trial,
    evaluate=evaluate,
    draw=draw,
    prepare=prepare,
    policies=tuple(Policy),
    timed=Timed(
        ("client", "server"),
        where=lambda samples: samples["server"].notna(),
        floor_us=1000.0,  # a program answers
    ),
)
